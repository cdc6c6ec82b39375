"""Momentum variance reduction against its recurrence in NumPy, and against plain momentum."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.keys import BATCHES, INITIALISE
from simbyz.simulator.participation import participants
from simbyz.sweeps import Lane, sweep
from simbyz.tasks import Task
from tests.support.compiled import quick_jit
from tests.wings.simulator import quadratic

SCALE = np.array([1.0, 0.5, 2.0], np.float32)
REDUCED = Config(n=4, f=0, variance_reduction=True, study=False)


@functools.cache
def noisy(shared):
    """Losses Σ scale · ((1 + shared · z_1) θ² / 2 - (1 - shared) z_2 θ), z of the batch: noise of
    the curvature, which moves along with θ, or of the gradient, which doesn't.
    """

    def batches(arrays, key, first_step, num_steps, num_workers):
        def draw(step):
            return jax.random.normal(jax.random.fold_in(key, step), (num_workers, 2, len(SCALE)))

        return jax.vmap(draw)(first_step + jnp.arange(num_steps))

    def loss(arrays, parameters, model_state, batch, key):
        square = (1 + shared * batch[0]) * jnp.square(parameters) / 2
        return jnp.sum(SCALE * (square - (1 - shared) * batch[1] * parameters)), model_state

    return Task(
        data={},
        initialise=lambda key: (3 + jax.random.normal(key, SCALE.shape), {}),
        batches=batches,
        loss=loss,
        accuracy=lambda *_: jnp.float32(0),
        batch_size=1,
    )


def run(config, hyperparameters, rule=aggregators.average, attack=None, steps=25, task=None):
    task = noisy(0.5) if task is None else task
    return quadratic.run(config, hyperparameters, rule, attack, steps, task)


@pytest.mark.slower
@pytest.mark.parametrize(
    "momentum", [Momentum(0.9, 0.1), Momentum(0.8), Momentum(0.0)], ids=["mean", "sum", "none"]
)
def test_against_the_recurrence(momentum):
    """m_t = g(θ_t; ξ_t) + μ (m_{t-1} - g(θ_{t-1}; ξ_t)), sent times gain / (1 - μ)."""
    task, rate, clip, l2, steps = noisy(0.5), 0.05, 4.0, 0.1, 25
    state, metrics = run(REDUCED, Hyperparameters(rate, worker=momentum, clip=clip, l2=l2))

    key = jax.random.key(0)
    theta = np.asarray(task.initialise(jax.random.fold_in(key, INITIALISE))[0], np.float64)
    draws = np.asarray(task.batches({}, jax.random.fold_in(key, BATCHES), 0, steps, 4), np.float64)
    decay, gain = momentum

    def gradient(point, draw):
        raw = SCALE * ((1 + 0.5 * draw[0]) * point - 0.5 * draw[1])
        raw = raw + l2 * point / np.linalg.norm(point)
        return raw * min(1, clip / np.linalg.norm(raw))

    momenta, last = np.zeros((4, 3)), None
    for step in range(steps):
        for i in range(4):
            now = gradient(theta, draws[step, i])
            before = 0 if last is None else gradient(last, draws[step, i])
            momenta[i] = now + decay * (momenta[i] - before)
        last, theta = theta, theta - rate * gain / (1 - decay) * momenta.mean(axis=0)
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        state.senders[-1], gain / (1 - decay) * momenta, rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(state.senders[1].value.points, last, rtol=1e-4, atol=1e-5)
    assert np.isfinite(metrics.loss).all()


@pytest.mark.slower
def test_without_decay_it_is_plain_gradients():
    hyperparameters = Hyperparameters(0.05, worker=Momentum(0.0))
    reduced, _ = run(REDUCED, hyperparameters)
    config = Config(n=4, f=0, momentum_at=(), study=False)
    plain, _ = run(config, hyperparameters._replace(worker=None))
    np.testing.assert_allclose(reduced.parameters, plain.parameters, rtol=1e-5, atol=1e-6)


@pytest.mark.slower
def test_it_estimates_the_gradient_better_than_plain_momentum():
    """Far from the optimum plain momentum lags: its error to the true gradient is larger."""
    errors = {}
    for variance_reduction in (False, True):
        config = Config(n=4, f=0, variance_reduction=variance_reduction, study=False)
        task, errors[variance_reduction] = noisy(0.1), []
        simulator = make_simulator(config, task, aggregators.average, None)
        hyperparameters = Hyperparameters(0.05, worker=Momentum(0.9, 0.1))

        def error(seed, simulator=simulator, task=task, hyperparameters=hyperparameters):
            key = jax.random.key(seed)
            start, _ = simulator.advance(
                simulator.initialise(key), hyperparameters, task.data, key, 0, 20
            )
            # One more step, for momenta at the parameters that they are of.
            end, _ = simulator.advance(start, hyperparameters, task.data, key, 20, 1)
            return end.senders[-1] - SCALE[None] * start.parameters[None]

        apart = np.asarray(quick_jit(jax.vmap(error))(np.arange(50)))
        errors[variance_reduction] = np.mean(np.sum(np.square(apart), axis=-1))
    assert errors[True] < errors[False] / 2


@pytest.mark.slower
@pytest.mark.parametrize("redraw", [False, True])
def test_it_goes_with_rules_attacks_and_redrawing(redraw):
    config = Config(
        n=9, f=2, redraw=redraw, variance_reduction=True, evaluate_every=100, study=False
    )
    hyperparameters = Hyperparameters(
        0.1, worker=Momentum(0.9, 0.1), attack={"factor": -1.5 if redraw else 3.0}
    )
    attack = attacks.a_little_is_enough if redraw else attacks.fall_of_empires
    rule = aggregators.multi_krum if redraw else aggregators.trimmed_mean
    state, _ = run(config, hyperparameters, rule, attack, steps=150, task=noisy(0.1))
    assert state.senders[-1].shape == (9 if redraw else 7, 3)
    assert float(jnp.abs(state.parameters).max()) < 1.5  # from about 3


@pytest.mark.slower
def test_chunks_and_lanes_of_a_sweep_change_nothing():
    task = noisy(0.5)
    hyperparameters = Hyperparameters(0.05, worker=Momentum(0.9, 0.1))
    simulator = make_simulator(REDUCED, task, aggregators.average, None)
    advance = quick_jit(simulator.advance, static_argnums=5)
    key = jax.random.key(0)
    state = quick_jit(simulator.initialise)(key)
    whole, _ = advance(state, hyperparameters, {}, key, 0, 6)
    for first in (0, 3):
        state, _ = advance(state, hyperparameters, {}, key, first, 3)
    np.testing.assert_allclose(state.parameters, whole.parameters, rtol=1e-6)
    lanes = [Lane(seed, hyperparameters) for seed in (0, 1)]
    first, second = sweep(simulator, lanes, {}, steps=6, width=1)
    np.testing.assert_allclose(first.parameters, whole.parameters, rtol=1e-5)
    assert not np.allclose(second.parameters, whole.parameters)


@pytest.mark.slower
def test_workers_a_few_at_once_change_nothing():
    hyperparameters = Hyperparameters(0.05, worker=Momentum(0.9, 0.1))
    few = dataclasses.replace(REDUCED, workers_at_once=2)
    got, expected = (run(config, hyperparameters, steps=5)[0] for config in (few, REDUCED))
    np.testing.assert_allclose(got.parameters, expected.parameters, rtol=1e-5)


COMBINED = [
    dict(momentum_at=("update",)),
    dict(momentum_at=("server",)),
    dict(momentum_at=("worker",), nesterov=True),
    dict(momentum_at=("update",), nesterov=True),
    dict(momentum_at=("worker",), participants=3),
    dict(momentum_at=("server",), participants=3),
    dict(momentum_at=("worker",), participants=3, nesterov=True, local_steps=2),
    dict(momentum_at=("worker",), local_steps=3),
    dict(momentum_at=("worker", "update"), nesterov=True),
]


@pytest.mark.slower
@pytest.mark.parametrize("options", COMBINED, ids=lambda options: "-".join(map(str, options)))
def test_with_places_nesterov_participants_and_local_steps(options):
    """Step by step, each worker with its own estimate and its own last point."""
    n, f, steps, rate, gain, decay = 5, 1, 6, 0.1, 0.3, 0.7
    k, nesterov = options.get("local_steps", 1), options.get("nesterov", False)
    place, task = options["momentum_at"][-1], noisy(0.5)
    count = {} if options.get("participants") is None else {"byzantine_participants": 1}
    config = Config(n=n, f=f, variance_reduction=True, study=False, **options, **count)
    momentum = dict.fromkeys(options["momentum_at"], Momentum()) | {place: Momentum(decay, gain)}
    hyperparameters = Hyperparameters(rate, attack={"factor": 1.5}, **momentum)
    rule, attack = aggregators.trimmed_mean, attacks.fall_of_empires
    state, metrics = run(config, hyperparameters, rule, attack, steps)

    key, h = jax.random.key(0), n - f
    theta = np.asarray(task.initialise(jax.random.fold_in(key, INITIALISE))[0], np.float64)
    draws = task.batches({}, jax.random.fold_in(key, BATCHES), 0, steps * k, h)
    draws = np.asarray(draws, np.float64)
    own, points, momentum, sent_last = np.zeros((h, 3)), [None] * h, np.zeros(3), None

    def gradient(point, draw):
        return SCALE * ((1 + 0.5 * draw[0]) * point - 0.5 * draw[1])

    for step in range(steps):
        asked = np.asarray(participants(config, key, step).workers)
        sent = []
        for i in (i for i in asked if i < h):
            y, total = theta, np.zeros(3)
            for j in range(k):
                last = points[i] if place == "worker" else sent_last
                at = y - nesterov * rate * decay * (own[i] if place == "worker" else momentum)
                draw = draws[step * k + j, i]
                change = 0 if last is None else gradient(at, draw) - gradient(last, draw)
                if last is None:
                    change = gradient(at, draw)
                corrected = gradient(at, draw) + decay / (1 - decay) * change
                if place == "worker":
                    own[i] = corrected = decay * own[i] + gain * corrected
                    points[i] = at
                y, total = y - rate * corrected, total + corrected
            sent.append(total)
        sent_last = at if place != "worker" else None
        if place == "server":
            sent = [gain * one + decay * momentum for one in sent]
        rows = np.array([*sent, -0.5 * np.mean(sent, axis=0)])
        aggregate = np.sort(rows, axis=0)[1:-1].mean(axis=0)
        if place == "update":
            aggregate = decay * momentum + gain * aggregate
        momentum = aggregate
        theta = theta - rate * aggregate
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-4, atol=1e-5)
    assert np.isfinite(metrics.loss).all()


@pytest.mark.slower
def test_a_run_without_nesterov_in_a_program_with_it():
    hyperparameters = Hyperparameters(0.05, worker=Momentum(0.9, 0.1))
    plain, _ = run(REDUCED, hyperparameters, steps=5)
    task, key = noisy(0.5), jax.random.key(0)
    ahead = dataclasses.replace(REDUCED, nesterov=True)
    simulator = make_simulator(ahead, task, aggregators.average, None)
    advance = quick_jit(simulator.advance, static_argnums=5)
    state = quick_jit(simulator.initialise)(key)
    state, _ = advance(state, hyperparameters, {}, key, 0, 5, False)
    np.testing.assert_allclose(state.parameters, plain.parameters, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(momentum_at=()), "corrects momentum, of which there is none: give momentum_at"),
        (dict(momentum_at=("update",), local_steps=2), "local steps corrects the momentum that"),
        (dict(momentum_at=("worker", "update"), participants=3), "one place in momentum_at, got"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(n=4, f=0, variance_reduction=True, **options)


def test_the_step_alone_takes_plain_gradients():
    simulator = make_simulator(REDUCED, noisy(0.5), aggregators.average, None)
    state, rows = simulator.initialise(jax.random.key(0)), jnp.ones((4, 3))
    hyperparameters = Hyperparameters(0.1, worker=Momentum(0.9))
    with pytest.raises(ValueError, match="one gradient a worker.*variance_reduction=True"):
        simulator.apply(state, hyperparameters, jax.random.key(0), 0, rows, rows[:, 0])
