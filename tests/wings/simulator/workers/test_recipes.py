"""Momentum algorithms by name: each against its definition in NumPy, for 30 steps under attack."""

import jax
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.simulator import Config, Hyperparameters
from simbyz.simulator.keys import FEEDBACK_NOISE, INITIALISE, PRESENCE, SEND, of_step
from simbyz.simulator.metrics import bits_sent
from simbyz.simulator.workers import (
    byz_clip21_sgd2m,
    byz_dm21,
    byz_ef21_sgdm,
    byz_vr_dm21,
    delayed_momentum,
    normalised,
    rosdhb,
    top_k,
)
from tests.support.compiled import quick_jit
from tests.wings.simulator.quadratic import TARGET, quadratic, run

H, D, STEPS, RATE, NOISE = 4, len(TARGET), 30, 0.1, 0.5
CONFIG = Config(n=5, f=1, momentum_at=(), study=False)
KEY = jax.random.key(0)
COLUMNS = {"bits": bits_sent}


def opposite(key, honest, num_byzantine):
    return -honest[:num_byzantine]


def in_numpy(rows_of, unit=False):
    """Parameters after 30 steps; `rows_of(step, gradient)` gives the honest rows (h, d) of a step,
    of the function point -> gradients (h, d).
    """
    start = jax.random.normal(jax.random.fold_in(KEY, INITIALISE), (D,))
    parameters = np.asarray(start, np.float64)
    # In this task a batch is a point's noise, drawn by the key of all batches.
    batches = quadratic(NOISE).batches({}, jax.random.fold_in(KEY, 1), 0, STEPS, H)
    for step, batch in enumerate(np.asarray(batches, np.float64)):

        def gradient(point, batch=batch):
            return point - TARGET.astype(np.float64) - NOISE * batch

        rows = rows_of(step, parameters, gradient)
        aggregate = np.median(np.concatenate([rows, -rows[:1]]), axis=0)
        if unit:
            aggregate = aggregate / np.sqrt(np.sum(aggregate**2))
        parameters = parameters - RATE * aggregate
    return parameters


def largest(x, k):
    kept = np.zeros_like(x)
    for row, into in zip(x, kept, strict=True):
        places = np.argsort(-np.abs(row), kind="stable")[:k]
        into[places] = row[places]
    return kept


def ef21(eta, k):
    v, h = np.zeros((H, D)), np.zeros((H, D))

    def rows_of(step, point, gradient):
        v[:] = (1 - eta) * v + eta * gradient(point)
        h[:] = h + largest(v - h, k)
        return h.copy()

    return rows_of


def dm21(eta, k, corrected=False):
    v, u, h = np.zeros((3, H, D))
    last = []

    def rows_of(step, point, gradient):
        now = gradient(point)
        if corrected and last:
            v[:] = now + (1 - eta) * (v - gradient(last[-1]))
        else:
            v[:] = (1 - eta) * v + eta * now
        last.append(point.copy())
        u[:] = (1 - eta) * u + eta * v
        h[:] = h + largest(u - h, k)
        return h.copy()

    return rows_of


def sparse_heavy_ball(k, beta):
    m = np.zeros((H, D))

    def rows_of(step, point, gradient):
        drawn = jax.random.permutation(jax.random.fold_in(of_step(KEY, SEND, step), 0), D)
        mask = np.isin(np.arange(D), np.asarray(drawn)[:k])
        m[:] = beta * m + (1 - beta) * (D / k) * mask * gradient(point)
        return m.copy()

    return rows_of


def clip21(beta, rate, bound, noise):
    v, own, server = np.zeros((3, H, D))

    def rows_of(step, point, gradient):
        v[:] = (1 - beta) * v + beta * gradient(point)
        change = v - own
        length = np.sqrt(np.sum(change**2, axis=1, keepdims=True))
        change = change * np.minimum(1, bound / length)
        drawn = np.asarray(jax.random.normal(of_step(KEY, FEEDBACK_NOISE, step), (H, D)))
        own[:] = own + rate * change
        server[:] = server + rate * (change + noise * drawn)
        return server.copy()

    return rows_of


def delayed(alpha, probability):
    m = np.zeros((H, D))

    def rows_of(step, point, gradient):
        new = (1 - alpha) * m + alpha * gradient(point)
        key = jax.random.fold_in(of_step(KEY, PRESENCE, step), 0)
        for i in range(H):
            if jax.random.uniform(jax.random.fold_in(key, i)) < probability:
                m[i] = new[i]
        return m.copy()

    return rows_of


FLOATS = 32 * D
INDEXED = 2 * (32 + 2)
ALGORITHMS = {
    "byz_ef21_sgdm": (byz_ef21_sgdm(0.2, top_k(2)), ef21(0.2, 2), INDEXED),
    "byz_dm21": (byz_dm21(0.3, top_k(2)), dm21(0.3, 2), INDEXED),
    "byz_vr_dm21": (byz_vr_dm21(0.3, top_k(2)), dm21(0.3, 2, corrected=True), INDEXED),
    "rosdhb": (rosdhb(2, 0.8), sparse_heavy_ball(2, 0.8), 2 * 32),
    "byz_clip21_sgd2m": (byz_clip21_sgd2m(0.3, 0.5, 1.0, 0.1), clip21(0.3, 0.5, 1.0, 0.1), FLOATS),
    "delayed_momentum": (delayed_momentum(0.3, 0.4), delayed(0.3, 0.4), None),
}


def end(senders, **more):
    return run(
        CONFIG,
        Hyperparameters(RATE),
        aggregators.median,
        opposite,
        STEPS,
        task=quadratic(NOISE),
        senders=senders,
        columns=COLUMNS,
        jit=quick_jit,
        **more,
    )


@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_is_its_definition(name):
    sender, rows_of, bits = ALGORITHMS[name]
    state, metrics = end([sender])
    np.testing.assert_allclose(state.parameters, in_numpy(rows_of), rtol=2e-6, atol=2e-6)
    told = metrics.own["bits"]
    if bits is None:  # those who are absent send none
        assert set(told) <= {FLOATS * count / H for count in range(H + 1)}
        assert 0.2 * FLOATS < told.mean() < 0.6 * FLOATS
    else:
        np.testing.assert_array_equal(told, np.float32(bits))


@pytest.mark.slower
def test_normalised_steps():
    def rows_of(step, point, gradient):
        return gradient(point)

    state, metrics = end([], optimizer=normalised())
    expected = in_numpy(rows_of, unit=True)
    np.testing.assert_allclose(state.parameters, expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(metrics.own["bits"], np.float32(FLOATS))
    np.testing.assert_array_equal(normalised().update(np.zeros(3, np.float32), ())[0], np.zeros(3))
    for size in (1e-30, 1e-20, 1.0, 1e20, 1e38):
        step = normalised().update(np.array([3, 0, -4], np.float32) * np.float32(size / 2), ())[0]
        np.testing.assert_allclose(step, [-0.6, 0, 0.8], rtol=1e-6)
