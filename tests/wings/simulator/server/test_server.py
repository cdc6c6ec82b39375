"""Rules that draw random numbers or remember, inside the simulator."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz._arrays.geometry import squared_distances
from simbyz.aggregators import (
    centered_clipping,
    centered_clipping_selection,
    chain,
    distance,
    median,
)
from simbyz.aggregators.base import StatefulRule
from simbyz.preaggregators import bucketing
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.simulator.keys import RULE, of_step
from simbyz.simulator.server import defend
from simbyz.tasks import Task
from tests.support.compiled import compiled, quick_jit

N, D = 9, 4
ROWS = np.random.default_rng(0).normal(size=(3, N, D)).astype(np.float32)

in_pairs = chain(functools.partial(bucketing, bucket_size=2), median)
around_last = StatefulRule(
    lambda stack, f, *, state: centered_clipping(stack, f, radius=1.0, center=state),
    start=lambda zeros: zeros,
    learn=lambda state, stack, aggregate: aggregate,
)


def selection_around_last(stack, f, *, state):
    return centered_clipping_selection(stack, f, radius=1.0, center=state)


def simulate(rule, selection=None) -> tuple[np.ndarray, dict]:
    """The parameters after each of three steps whose gradients are given; rate 1, from zero."""
    task = Task(
        data={},
        initialise=lambda key: (jnp.zeros(D), {}),
        batches=None,
        loss=None,
        accuracy=None,
        batch_size=1,
    )
    simulator = make_simulator(
        Config(n=N, f=2, num_byzantine=0, momentum_at=()), task, rule, None, selection=selection
    )
    key = jax.random.key(7)
    state = quick_jit(simulator.initialise)(key)
    apply = quick_jit(simulator.apply)
    parameters, metrics = [], []
    for step, rows in enumerate(ROWS):
        state, told = apply(
            state, Hyperparameters(learning_rate=1.0), key, step, rows, np.zeros(N, np.float32)
        )
        parameters.append(state.parameters)
        metrics.append(told)
    return np.array(parameters), metrics


@pytest.mark.slower
def test_a_rule_that_draws_gets_a_key_of_its_own_each_step():
    key = jax.random.key(7)

    @quick_jit
    def paired(rows, step):
        return in_pairs(rows, 2, key=of_step(key, RULE, step))

    expected = [paired(rows, i) for i, rows in enumerate(ROWS)]
    parameters, _ = simulate(in_pairs)
    np.testing.assert_allclose(parameters, -np.cumsum(expected, axis=0), rtol=1e-5, atol=1e-6)
    always_the_same = [paired(rows, 0) for rows in ROWS]
    assert not np.allclose(expected, always_the_same)


@pytest.mark.slower
def test_a_rule_that_remembers_starts_from_its_last_result():
    center, expected = np.zeros(D, np.float32), []
    clipped = compiled(centered_clipping, f=2, radius=1.0)
    for rows in ROWS:
        center = clipped(rows, center=center)
        expected.append(center)
    parameters, _ = simulate(around_last, selection_around_last)
    np.testing.assert_allclose(parameters, -np.cumsum(expected, axis=0), rtol=1e-5, atol=1e-6)


def test_the_selection_sees_what_the_rule_saw():
    center = ROWS[1].mean(axis=0)
    aggregate, weights, state = defend(
        around_last, selection_around_last, ROWS[0], 2, jax.random.key(0), center
    )
    expected = centered_clipping_selection(ROWS[0], 2, radius=1.0, center=center)
    np.testing.assert_array_equal(weights, expected)
    np.testing.assert_array_equal(state, aggregate)


@pytest.mark.slower
@pytest.mark.parametrize("name", ["krum", "multi_krum", "bulyan"])
def test_rule_and_selection_share_their_distances(name, monkeypatch):
    measured = []
    monkeypatch.setattr(
        distance, "squared_distances", lambda stack: measured.append(1) or squared_distances(stack)
    )
    rule, selection = aggregators.AGGREGATORS[name], aggregators.SELECTIONS[name]

    @quick_jit
    def both(rows):
        together = defend(rule, selection, rows, 1, jax.random.key(0), None)
        assert measured == [1]
        return together[:2], (rule(rows, 1), selection(rows, 1))

    jax.tree.map(np.testing.assert_array_equal, *both(ROWS[0]))


@pytest.mark.parametrize("rule", [median, functools.partial(in_pairs, key=jax.random.key(0))])
def test_a_plain_rule_is_called_with_nothing_more(rule):
    aggregate, weights, state = defend(rule, None, ROWS[0], 2, jax.random.key(1), None)
    np.testing.assert_array_equal(aggregate, rule(ROWS[0], 2))
    assert weights is None
    assert state is None
