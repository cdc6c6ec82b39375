"""Partial participation against plain NumPy, and who takes part how often."""

import functools

import jax
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.simulator import Config, Hyperparameters, Momentum
from simbyz.simulator.keys import BATCHES, INITIALISE
from simbyz.simulator.participation import participants
from tests.wings.simulator.quadratic import TARGET, quadratic, run

N, B, P = 8, 2, 5
KEY = jax.random.key(0)


def drawn(config, steps):
    draw = jax.jit(jax.vmap(lambda step: participants(config, KEY, step)))
    return jax.device_get(draw(np.arange(steps)))


@pytest.mark.slower
@pytest.mark.parametrize("exactly", [None, 1])
def test_who_takes_part_how_often(exactly):
    config = Config(n=N, f=1, num_byzantine=B, participants=P, byzantine_participants=exactly)
    part = drawn(config, 2000)
    assert part.workers.shape == (2000, P)
    assert np.all(np.diff(part.workers, axis=1) > 0)
    shares = np.bincount(np.ravel(part.workers), minlength=N) / 2000
    expected = [P / N] * N if exactly is None else [4 / 6] * 6 + [1 / 2] * 2
    np.testing.assert_allclose(shares, expected, atol=0.05)  # 4.5 deviations
    counts = np.bincount(np.sum(part.byzantine, axis=1), minlength=3) / 2000
    # hypergeometric: C(6, 5), C(6, 4) C(2, 1) and C(6, 3) of C(8, 5) sets
    chances = np.array([6, 30, 20]) / 56 if exactly is None else [0, 1, 0]
    np.testing.assert_allclose(counts, chances, atol=0.05)


@pytest.mark.slower
@pytest.mark.parametrize("local_steps", [1, 2])
@pytest.mark.parametrize("exactly", [None, 1])
@pytest.mark.parametrize("redraw", [False, True])
def test_against_numpy(exactly, redraw, local_steps):
    rate, decay, steps = 0.1, 0.8, 8
    task = quadratic(noise=1.0)
    config = Config(
        n=N,
        f=2,
        redraw=redraw,
        participants=P,
        byzantine_participants=exactly,
        local_steps=local_steps,
    )
    hyperparameters = Hyperparameters(rate, worker=Momentum(decay), attack={"factor": -1.5})
    state, metrics = run(
        config, hyperparameters, aggregators.median, attacks.a_little_is_enough, steps, task
    )

    part = drawn(config, steps)
    theta = np.asarray(task.initialise(jax.random.fold_in(KEY, INITIALISE))[0], np.float64)
    noises = np.asarray(
        task.batches(
            task.data, jax.random.fold_in(KEY, BATCHES), 0, steps * local_steps, config.computing
        )
    )
    momenta = np.zeros((config.computing, 4))
    for step in range(steps):
        sent, byzantine, before = [], 0, momenta.copy()
        for worker, bad in zip(part.workers[step], part.byzantine[step], strict=True):
            byzantine += int(bad)
            if worker >= config.computing:
                continue
            y, difference = theta, 0
            for j in range(local_steps):
                gradient = y - TARGET - noises[step * local_steps + j, worker]
                momenta[worker] = decay * momenta[worker] + gradient
                y = y - rate * momenta[worker]
                difference = difference + momenta[worker]
            if not bad:
                sent.append(difference)
        absent = np.setdiff1d(np.arange(config.computing), part.workers[step])
        np.testing.assert_array_equal(momenta[absent], before[absent])
        attack = np.mean(sent, axis=0) - 1.5 * np.std(sent, axis=0, ddof=1)
        assert len(sent) + byzantine == P
        assert np.isnan(metrics.attack_norm[step]) == (byzantine == 0)
        norm = np.linalg.norm(np.mean(sent, axis=0))
        assert metrics.honest_norm[step] == pytest.approx(norm, rel=1e-4)
        theta = theta - rate * np.median([*sent, *[attack] * byzantine], axis=0)
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-4, atol=1e-5)
    kept = jax.tree.leaves(state.senders)[-1]
    np.testing.assert_allclose(kept, momenta, rtol=1e-4, atol=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("nesterov", [False, True])
def test_all_participants_are_full_participation(nesterov):
    hyperparameters = Hyperparameters(0.1, worker=Momentum(0.8), attack={"factor": -1.5})
    results = [
        run(
            Config(n=N, f=B, nesterov=nesterov, participants=p),
            hyperparameters,
            aggregators.multi_krum,
            attacks.a_little_is_enough,
            10,
        )[1]
        for p in (None, N)
    ]
    for name, column in results[0]._asdict().items():
        if column is None:
            continue
        np.testing.assert_allclose(
            getattr(results[1], name), column, rtol=1e-4, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"participants": 9}, "participants must be from 1 to n = 8, got 9"),
        ({"participants": 0}, "participants must be from 1 to n = 8, got 0"),
        ({"byzantine_participants": 1}, "byzantine_participants needs participants, got 1"),
        (
            {"participants": 5, "byzantine_participants": 3},
            "must be from 0 to 2, with 5 participants of 6 honest and 2 Byzantine.*got 3",
        ),
        ({"participants": 7, "byzantine_participants": 0}, "must be from 1 to 2.*got 0"),
        ({"participants": 2}, "all 2 participants could be Byzantine"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(n=8, f=2, **options)


@pytest.mark.slower
def test_a_step_of_byzantine_participants_alone():
    """One of five, by chance: it sends its own vector turned around, and there are no others."""
    config = Config(
        n=5, f=0, num_byzantine=2, participants=1, byzantine_gradients=True, momentum_at=()
    )
    arguments = Hyperparameters(0.1), aggregators.median
    with pytest.raises(ValueError, match="of whom a step may have none here"):
        run(config, *arguments, attacks.a_little_is_enough, 1, quadratic())
    task = quadratic(noise=1.0)
    state, metrics = run(config, *arguments, attacks.sign_flipping, 8, task)
    part = drawn(config, 8)
    byzantine = part.byzantine[:, 0]
    assert 0 < byzantine.sum() < 8
    np.testing.assert_array_equal(np.isnan(metrics.honest_norm), byzantine)
    theta = np.asarray(task.initialise(jax.random.fold_in(KEY, INITIALISE))[0], np.float64)
    noises = np.asarray(task.batches(task.data, jax.random.fold_in(KEY, BATCHES), 0, 8, 5))
    for step, worker in enumerate(part.workers[:, 0]):
        gradient = theta - TARGET - noises[step, worker]
        theta = theta - 0.1 * (-gradient if byzantine[step] else gradient)
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-4, atol=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("window", [2, None])
def test_a_step_without_honest_participants_adds_nothing_to_the_curvature(window):
    config = Config(
        n=5,
        f=0,
        num_byzantine=2,
        participants=1,
        byzantine_gradients=True,
        momentum_at=("update",),
        curvature_window=window,
        evaluate_every=None,
    )

    def part(i, *, sampled):
        return sampled[0, i]

    parts = {f"part {i}": functools.partial(part, i) for i in range(len(TARGET))}
    numbers = Hyperparameters(0.1, update=Momentum(0.5))
    arguments = numbers, aggregators.median, attacks.sign_flipping, 10, quadratic(noise=1.0)
    _, metrics = run(config, *arguments, columns=parts)
    sent = np.stack([metrics.own[name] for name in parts], axis=1).astype(np.float64)
    byzantine = np.isnan(metrics.honest_norm)
    assert 0 < byzantine[1:6].sum() and not byzantine[6:].all()
    expected = np.full(10, np.nan)
    for step in np.flatnonzero(~byzantine):
        past = [s for s in range(step)[::-1][:window] if not byzantine[s]]
        expected[step] = sum(0.5 ** (step - s) * (sent[step] @ sent[s]) for s in past)
    expected[0] = np.nan
    np.testing.assert_allclose(metrics.curvature, expected, rtol=1e-4, atol=1e-4)


def test_the_rule_s_condition_is_about_the_participants():
    with pytest.raises(ValueError, match=r"n >= 2f \+ 3, got n=5, f=2"):
        run(
            Config(n=N, f=2, participants=5, byzantine_participants=1, momentum_at=()),
            Hyperparameters(0.1),
            aggregators.krum,
            attacks.zero,
        )


def test_chance_in_double_precision():
    """Steps with attackers and without have columns of one type, and θ is that of the loop."""
    config = Config(n=N, f=1, num_byzantine=B, participants=P, momentum_at=())
    rate, steps = 0.1, 6
    numbers = Hyperparameters(rate, attack={"factor": 1.5})
    with jax.enable_x64(True):
        task = quadratic(noise=0.0)
        state, metrics = run(
            config, numbers, aggregators.average, attacks.fall_of_empires, steps, task
        )
        counts = np.sum(drawn(config, steps).byzantine, axis=1)
        theta = np.asarray(task.initialise(jax.random.fold_in(KEY, INITIALISE))[0])
    norms = []
    for count in counts:
        gradient = theta - TARGET.astype(np.float64)  # of all honest workers, without noise
        norms.append(np.linalg.norm(0.5 * gradient) if count else np.nan)
        theta = theta - rate * ((P - count) * gradient - count * 0.5 * gradient) / P
    assert 0 < np.count_nonzero(counts) < steps
    assert state.parameters.dtype == np.float64
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-12)
    np.testing.assert_allclose(metrics.attack_norm, norms, rtol=1e-12)
