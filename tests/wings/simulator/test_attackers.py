"""Byzantine workers that compute, mislabel, change from step to step, or learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.attacks.base import StatefulAttack
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.attackers import receive
from simbyz.simulator.keys import BATCHES, INITIALISE, REDRAW, of_step
from simbyz.simulator.participation import (
    Identities,
    Participants,
    Round,
    apart,
    identities,
    participants,
)
from tests.wings.simulator.quadratic import TARGET, quadratic, run

N, B, STEPS = 7, 2, 12
KEY = jax.random.key(0)


def round_of(who=None, options=None, step=0):
    """A round of all workers, with these identities."""
    part = None if who is None else Participants(jnp.arange(0), jnp.arange(0), jnp.int32(0), who)
    hyperparameters = Hyperparameters(0.1, attack=options or {})
    return Round(hyperparameters, KEY, step, step, part, 0.1, 0.1, False, None, {})


def little(key, honest, num_byzantine, *, own):
    """An attack that does not care what its workers computed."""
    del own
    return attacks.a_little_is_enough(key, honest, num_byzantine)


@pytest.mark.slower
def test_the_honest_see_the_same_whether_others_compute_or_not():
    hyperparameters = Hyperparameters(0.2, worker=Momentum(0.9, 0.1))
    _, without = run(
        Config(n=N, f=B), hyperparameters, aggregators.median, attacks.a_little_is_enough, STEPS
    )
    _, beside = run(
        Config(n=N, f=B, byzantine_gradients=True),
        hyperparameters,
        aggregators.median,
        little,
        STEPS,
    )
    for name, column in without._asdict().items():
        if column is None:  # certificates, not asked for
            continue
        np.testing.assert_allclose(
            getattr(beside, name), column, rtol=2e-5, atol=1e-6, err_msg=name
        )


@pytest.mark.slower
@pytest.mark.parametrize("redraw", [pytest.param(False, marks=pytest.mark.slower), True])
@pytest.mark.parametrize("nesterov", [False, pytest.param(True, marks=pytest.mark.slower)])
def test_against_numpy(redraw, nesterov):
    """Sign flipping of one's own vector, momentum included, written out; every worker has one."""
    rate, decay, clip = 0.1, 0.8, 1.5
    config = Config(n=N, f=B, byzantine_gradients=True, redraw=redraw, nesterov=nesterov)
    hyperparameters = Hyperparameters(
        rate, worker=Momentum(decay), clip=clip, attack={"scale": 0.5}
    )
    task = quadratic(noise=1.0)
    state, metrics = run(
        config, hyperparameters, aggregators.trimmed_mean, attacks.sign_flipping, STEPS, task
    )

    key = jax.random.key(0)
    theta = np.asarray(task.initialise(jax.random.fold_in(key, INITIALISE))[0], np.float64)
    batches_key = jax.random.fold_in(key, BATCHES)
    noises = np.asarray(task.batches(task.data, batches_key, 0, STEPS, N), np.float64)
    momenta = np.zeros((N, len(TARGET)))
    for step in range(STEPS):
        drawn = jax.random.permutation(of_step(key, REDRAW, step), N)
        byzantine = set(np.asarray(drawn)[N - B :]) if redraw else set(range(N - B, N))
        received, sampled, losses = [], [], []
        for i in range(N):
            point = theta - rate * decay * momenta[i] if nesterov else theta
            gradient = point - TARGET - noises[step, i]
            loss = np.sum(gradient**2) / 2
            gradient = gradient * min(1, clip / np.linalg.norm(gradient))
            momenta[i] = decay * momenta[i] + gradient
            if i in byzantine:
                received.append(-0.5 * momenta[i])
            else:
                received.append(momenta[i].copy())
                sampled.append(gradient)
                losses.append(loss)
        assert metrics.loss[step] == pytest.approx(np.mean(losses), rel=1e-4)
        norm = np.linalg.norm(np.mean(sampled, axis=0))
        assert metrics.sampled_norm[step] == pytest.approx(norm, rel=1e-4)
        sent = [received[i] for i in byzantine]
        norm = np.linalg.norm(np.mean(sent, axis=0))
        assert metrics.attack_norm[step] == pytest.approx(norm, rel=1e-4)
        theta = theta - rate * np.sort(received, axis=0)[B : N - B].mean(axis=0)
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.senders[-1], momenta, rtol=1e-4, atol=1e-5)


def test_redrawn_identities():
    """Each step another draw, each worker as often; always n - h of them, all in order."""
    config = Config(n=N, f=1, num_byzantine=B, redraw=True)
    keys = jax.random.split(jax.random.key(0), 2000)
    honest, byzantine = jax.vmap(lambda key: identities(config, key))(keys)
    assert (honest.shape[1], byzantine.shape[1]) == (N - B, B)
    assert np.all(np.sort(np.concatenate([honest, byzantine], axis=1), axis=1) == np.arange(N))
    assert np.all(np.diff(honest, axis=1) > 0) and np.all(np.diff(byzantine, axis=1) > 0)
    shares = np.bincount(np.ravel(byzantine), minlength=N) / 2000
    np.testing.assert_allclose(shares, B / N, atol=6 * (B / N * (1 - B / N) / 2000) ** 0.5)
    fixed = identities(Config(n=N, f=1, num_byzantine=B), keys[0])
    np.testing.assert_array_equal(fixed.byzantine, [N - 2, N - 1])


def test_a_drawn_worker_is_replaced_in_its_place():
    config = Config(n=4, f=1, num_byzantine=2, redraw=True)
    vectors = jnp.arange(8.0).reshape(4, 2)
    who = Identities(jnp.asarray([1, 3]), jnp.asarray([0, 2]))
    stack, _ = receive(config, attacks.zero, vectors, None, round_of(who), {})
    np.testing.assert_array_equal(stack, [[0, 0], [2, 3], [0, 0], [6, 7]])
    honest, byzantine = apart(config, who, stack)
    np.testing.assert_array_equal(honest, [[2, 3], [6, 7]])
    np.testing.assert_array_equal(byzantine, np.zeros((2, 2)))


def test_what_is_received_says_whose_is_which_under_chance():
    """By chance more or fewer Byzantine rows come in: the stack is always the participants'."""
    config = Config(n=6, f=2, participants=3)
    vectors = jnp.arange(6.0).reshape(3, 2) + 1
    counts = set()
    for step in range(12):
        part = participants(config, KEY, step)
        stack, _ = receive(
            config, attacks.zero, vectors, None, round_of(step=step)._replace(part=part), {}
        )
        expected = np.where(part.byzantine[:, None], 0, vectors)
        np.testing.assert_array_equal(stack, expected)
        counts.add(int(part.byzantine.sum()))
    assert counts == {0, 1, 2}


@pytest.mark.slower
def test_redrawn_crashes_leave_momenta_and_krum_alone():
    """Whoever is drawn sends NaN in that step, and is its old self in the next."""
    config = Config(n=9, f=2, redraw=True)
    state, metrics = run(
        config,
        Hyperparameters(0.2, worker=Momentum(0.5, 0.5)),
        aggregators.multi_krum,
        attacks.nan,
        selection=aggregators.multi_krum_selection,
    )
    assert np.isfinite(state.senders[-1]).all()
    assert np.linalg.norm(state.parameters - TARGET) < 0.3
    np.testing.assert_array_equal(metrics.attack_acceptance, 0)


@pytest.mark.slower
@pytest.mark.parametrize("redraw", [False, True])
def test_the_share_of_byzantine_rows_in_the_average(redraw):
    _, metrics = run(
        Config(n=N, f=B, redraw=redraw, momentum_at=()),
        Hyperparameters(0.1),
        lambda stack, f: aggregators.average(stack),
        attacks.zero,
        steps=3,
        selection=lambda stack, f: jnp.where(jnp.all(stack == 0, axis=1), 2.0, 1.0) / len(stack),
    )
    np.testing.assert_allclose(metrics.attack_acceptance, 2 * B / N, rtol=1e-6)


def test_own_vectors_go_to_an_attack_that_takes_them():
    """Also where nobody is honest."""
    vectors, who = jnp.arange(6.0).reshape(3, 2), Identities(jnp.arange(0), jnp.arange(3))
    config = Config(n=3, f=1, num_byzantine=3, byzantine_gradients=True)

    def nobody(attack, state=None):
        return receive(config, attack, vectors, state, round_of(who), {})

    np.testing.assert_array_equal(nobody(attacks.zero).stack, np.zeros((3, 2)))
    flipped = functools.partial(attacks.sign_flipping, scale=2.0)
    np.testing.assert_array_equal(nobody(flipped).stack, -2 * vectors)

    def remembers(key, honest, num_byzantine, state, *, own):
        return own + state, state + 1

    memory = StatefulAttack(start=lambda d: 0.0, send=remembers)
    received = nobody(memory, 1.0)
    np.testing.assert_array_equal(received.stack, vectors + 1)
    assert received.attack == 2


@pytest.mark.slower
def test_all_workers_byzantine_turn_their_own_gradients():
    config = Config(n=N, f=0, num_byzantine=N, byzantine_gradients=True, momentum_at=())
    _, metrics = run(
        config, Hyperparameters(0.1), aggregators.average, attacks.sign_flipping, steps=30
    )
    assert metrics.distance_from_start[-1] > 10 * metrics.distance_from_start[1]
    assert np.isnan(metrics.loss).all()
    assert np.isnan(metrics.sampled_norm).all() and np.isnan(metrics.curvature).all()
    np.testing.assert_allclose(metrics.attack_norm, metrics.aggregate_norm, rtol=1e-5)


@pytest.mark.slower
def test_mimicking_copies_one_worker_after_the_warm_up():
    """Under heterogeneous optima, the average is drawn to the worker that is copied."""
    shifts = jnp.asarray([0.0, 0.0, 9.0, 0.0, 0.0])[:, None]
    equal = quadratic()

    def batches(arrays, key, first_step, num_steps, num_workers):
        return equal.batches(arrays, key, first_step, num_steps, num_workers) + 10 * shifts[None]

    config = Config(n=8, f=3, momentum_at=())
    state, metrics = run(
        config,
        Hyperparameters(0.2),
        aggregators.average,
        attacks.mimicking(warmup=5),
        task=equal._replace(batches=batches),
    )
    assert int(state.attack.worker) == 2
    assert int(state.attack.step) == 60
    # Five honest workers, of whom one has its optimum 9 away and counts four times.
    np.testing.assert_allclose(state.parameters, TARGET + 9 * 4 / 8, atol=0.3)
    np.testing.assert_allclose(metrics.attack_deviation, 0, atol=1e-4)


@pytest.mark.slower
def test_relocating_starts_from_the_last_aggregate():
    config = Config(n=N, f=B)
    _, metrics = run(
        config,
        Hyperparameters(0.1, worker=Momentum(0.9, 0.1), attack={"size": 0.0}),
        functools.partial(aggregators.centered_clipping, radius=1.0),
        attacks.relocating(),
        steps=10,
    )
    assert metrics.attack_norm[0] == 0
    np.testing.assert_allclose(metrics.attack_norm[1:], metrics.aggregate_norm[:-1], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "attack", "relabel", "message"),
    [
        ({}, None, None, "2 Byzantine workers need an attack, or byzantine_gradients to send"),
        ({"redraw": True}, None, None, "need an attack"),
        ({}, attacks.nan, lambda labels: labels, r"relabel needs Config\(byzantine_gradients"),
    ],
)
def test_refused(options, attack, relabel, message):
    with pytest.raises(ValueError, match=message):
        make_simulator(
            Config(n=5, f=2, **options),
            quadratic(),
            aggregators.median,
            attack,
            relabel=relabel,
        )
