"""Local steps against plain NumPy, against distributed SGD, and with everything else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simbyz import aggregators, attacks
from simbyz.preaggregators import nearest_neighbor_mixing
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.keys import BATCHES, INITIALISE
from tests.support.compiled import quick_jit
from tests.wings.simulator.quadratic import TARGET, quadratic, run

N, F, ROUNDS, K = 7, 2, 6, 3


@pytest.mark.slower
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("place", ["worker", "update", "server"])
def test_against_numpy(place, nesterov):
    """Rounds of local steps under attack: clipping, the l2 term, a schedule of both rates."""
    rate, local, decay, clip, l2 = 0.3, 0.1, 0.8, 1.5, 0.2
    task = quadratic(noise=1.0)
    config = Config(n=N, f=F, momentum_at=(place,), nesterov=nesterov, local_steps=K)
    hyperparameters = Hyperparameters(
        rate,
        clip=clip,
        l2=l2,
        attack={"factor": -1.5},
        local_learning_rate=local,
        **{place: Momentum(decay)},
    )
    state, metrics = run(
        config,
        hyperparameters,
        aggregators.median,
        attacks.a_little_is_enough,
        steps=ROUNDS,
        task=task,
        schedule=lambda step: 1 / (1 + step / 10),
    )

    key = jax.random.key(0)
    theta = np.asarray(task.initialise(jax.random.fold_in(key, INITIALISE))[0], np.float64)
    batches_key = jax.random.fold_in(key, BATCHES)
    noises = np.asarray(task.batches(task.data, batches_key, 0, ROUNDS * K, N - F), np.float64)
    workers, update, last = np.zeros((N - F, 4)), np.zeros(4), np.zeros(4)
    for step in range(ROUNDS):
        factor = 1 / (1 + step / 10)
        sent, losses = [], []
        for i in range(N - F):
            y, ahead = theta.copy(), np.zeros(4)
            if nesterov and place != "worker":
                ahead = factor * rate * decay * (update if place == "update" else last)
            for j in range(K):
                if nesterov and place == "worker":
                    ahead = factor * local * decay * workers[i]
                point = y - ahead
                gradient = point - TARGET - noises[step * K + j, i]
                if j == 0:
                    losses.append(np.sum(gradient**2) / 2 + l2 * np.linalg.norm(point))
                gradient = gradient + l2 * point / np.linalg.norm(point)
                gradient = gradient * min(1, clip / np.linalg.norm(gradient))
                if place == "worker":
                    workers[i] = decay * workers[i] + gradient
                    gradient = workers[i]
                y = y - factor * local * gradient
            difference = (theta - y) / (factor * local)
            sent.append(difference + decay * last if place == "server" else difference)
        assert metrics.loss[step] == pytest.approx(np.mean(losses), rel=1e-4)
        byzantine = np.mean(sent, axis=0) - 1.5 * np.std(sent, axis=0, ddof=1)
        last = np.median([*sent, *[byzantine] * F], axis=0)
        update = decay * update + last if place == "update" else last
        theta = theta - factor * rate * update
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(metrics.training_points, np.arange(ROUNDS) * K * (N - F))


@pytest.mark.slower
def test_a_local_rate_of_zero_gives_sums_of_gradients_at_one_place():
    """Then k steps are one, of a batch k times as large and a rate k times as large."""
    task = quadratic(noise=1.0)

    def joined(arrays, key, first_step, num_steps, num_workers):
        batches = task.batches(arrays, key, first_step * K, num_steps * K, num_workers)
        return jnp.mean(batches.reshape(num_steps, K, num_workers, 4), axis=1)

    options = {"momentum_at": ("update",), "study": False}
    hyperparameters = Hyperparameters(0.1, update=Momentum(0.9), local_learning_rate=0.0)
    many, _ = run(
        Config(N, 0, local_steps=K, **options), hyperparameters, aggregators.median, None, 5, task
    )
    one, _ = run(
        Config(N, 0, **options),
        hyperparameters._replace(learning_rate=0.1 * K, local_learning_rate=None),
        aggregators.median,
        None,
        5,
        task._replace(batches=joined),
    )
    # The momentum holds sums of k gradients here, and k times the rate there.
    np.testing.assert_allclose(many.parameters, one.parameters, rtol=1e-4, atol=1e-5)


MATRIX = [
    ({}, aggregators.multi_krum, attacks.nan, "worker", None),
    (
        {"byzantine_gradients": True, "redraw": True},
        aggregators.trimmed_mean,
        attacks.sign_flipping,
        "server",
        None,
    ),
    (
        {"nesterov": True, "workers_at_once": 2},
        functools.partial(aggregators.centered_clipping, radius=10.0),
        attacks.mimicking(warmup=2),
        "worker",
        optax.adam(1.0),
    ),
    (
        {},
        aggregators.chain(nearest_neighbor_mixing, aggregators.median),
        attacks.fall_of_empires,
        "update",
        optax.yogi(1.0),
    ),
]


@pytest.mark.slower
@pytest.mark.parametrize(("options", "rule", "attack", "place", "optimizer"), MATRIX)
def test_with_rules_attacks_places_and_optimizers(options, rule, attack, place, optimizer):
    """Batched over seeds, each combination comes nearer to the optimum under attack."""
    task = quadratic()
    config = Config(n=9, f=2, momentum_at=(place,), local_steps=2, study=False, **options)
    simulator = make_simulator(config, task, rule, attack, optimizer=optimizer)
    hyperparameters = Hyperparameters(0.05, **{place: Momentum(0.5, 0.5)})

    @quick_jit
    @jax.vmap
    def final(key):
        state = simulator.initialise(key)
        state, metrics = simulator.advance(state, hyperparameters, task.data, key, 0, 60)
        return state.start, state.parameters, metrics.loss

    start, parameters, losses = final(jax.vmap(jax.random.key)(jnp.arange(2)))
    before, after = (np.linalg.norm(np.asarray(at) - TARGET, axis=1) for at in (start, parameters))
    assert np.all(after < 0.5 * before)
    assert np.all(np.isfinite(losses))


def test_refused():
    with pytest.raises(ValueError, match="local_steps must be at least 1, got 0"):
        Config(n=5, f=1, local_steps=0)
    hyperparameters = Hyperparameters(0.1, worker=Momentum(), local_learning_rate=0.1)
    with pytest.raises(ValueError, match=r"local_learning_rate needs Config\(local_steps"):
        run(Config(n=5, f=0), hyperparameters, aggregators.median, None)
    simulator = make_simulator(
        Config(n=5, f=0, local_steps=2), quadratic(), aggregators.median, None
    )
    state = simulator.initialise(jax.random.key(0))
    with pytest.raises(ValueError, match="apply takes one gradient a worker, got local_steps=2"):
        simulator.apply(state, Hyperparameters(0.1), None, 0, jnp.ones((5, 4)), jnp.ones(5))
