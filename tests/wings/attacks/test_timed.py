"""Attacks in time, in runs and by themselves."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.attacks import (
    fall_of_empires,
    free_riding,
    intermittent,
    mimicking,
    poisoned_fl,
    relocating,
    sign_flipping,
)
from simbyz.attacks.base import StatefulAttack
from simbyz.simulator import Config, Hyperparameters
from tests.wings.simulator.quadratic import run

HONEST = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)
KEY = jax.random.key(0)


def told(attack, steps, count=4):
    state, rows = attack.start(2), []
    for step in range(steps):
        made, state = attack.send(KEY, HONEST, count, state)
        rows.append(np.array(made))
        state = attack.learn(state, jnp.full(2, 10.0 * step))
    return rows


def test_on_and_off():
    def away(key, honest, num_byzantine):
        return jnp.full((num_byzantine, 2), jnp.nan)

    rows = told(intermittent(away, 3, 2, first=1), 8)
    on = [bool(np.isnan(one).all()) for one in rows]
    assert on == [False, True, True, False, True, True, False, True]
    np.testing.assert_array_equal(rows[0], HONEST[jnp.array([0, 1, 2, 0])])


def test_what_never_comes_may_be_any_number():
    def away(key, honest, num_byzantine):
        return jnp.full((num_byzantine, 2), jnp.nan)

    for period, active, first, expected in (
        (sys.maxsize, 1, 0, [True, False, False]),
        (sys.maxsize, sys.maxsize, 1, [False, True, True]),
        (1, 1, sys.maxsize, [False, False, False]),
    ):
        rows = told(intermittent(away, period, active, first=first), 3)
        assert [bool(np.isnan(one).all()) for one in rows] == expected


@pytest.mark.slower
def test_a_look_or_an_end_that_never_comes_may_be_at_any_step():
    same = told(poisoned_fl(8.0, period=sys.maxsize), 4), told(poisoned_fl(8.0, period=99), 4)
    np.testing.assert_array_equal(*same)
    same = told(mimicking(warmup=sys.maxsize), 4), told(mimicking(warmup=99), 4)
    np.testing.assert_array_equal(*same)


def test_where_nobody_is_honest_what_was_computed_is_the_disguise():
    attack = intermittent(sign_flipping, 2, 1)
    own, state = HONEST[:2], attack.start(2)
    first, state = attack.send(KEY, HONEST[:0], 2, state, own=own)
    second, _ = attack.send(KEY, HONEST[:0], 2, attack.learn(state, own[0]), own=own)
    np.testing.assert_array_equal(first, -own)
    np.testing.assert_array_equal(second, own)


@pytest.mark.slower
def test_always_is_the_attack_and_never_is_none():
    config, numbers = Config(n=5, f=1, momentum_at=()), Hyperparameters(0.1)
    plain, always = (
        run(config, numbers, aggregators.average, attack, 6, jit=jax.jit)[0]
        for attack in (fall_of_empires, intermittent(fall_of_empires, 1, 1))
    )
    np.testing.assert_array_equal(always.parameters, plain.parameters)
    never, metrics = run(
        config, numbers, aggregators.average, intermittent(fall_of_empires, 1, 0), 6, jit=jax.jit
    )
    assert np.any(never.parameters != plain.parameters)
    np.testing.assert_array_less(0.0, metrics.cosine_honest_attack)


def test_a_memory_learns_in_all_steps():
    def send(key, honest, num_byzantine, last):
        return jnp.broadcast_to(last, (num_byzantine, 2)), last

    inner = StatefulAttack(jnp.zeros, send, lambda last, aggregate: last + aggregate)
    rows = told(intermittent(inner, 4, 1), 5)
    np.testing.assert_array_equal(rows[4], np.full((4, 2), 0.0 + 10 + 20 + 30))


def test_free_riders_send_the_last_aggregate():
    rows = told(free_riding(), 3)
    expected = np.array([0, 0, 10])[:, None, None] + np.zeros((4, 2))
    np.testing.assert_array_equal(rows, expected)
    noisy = told(free_riding(2.0), 1, count=3000)[0]
    np.testing.assert_allclose(noisy.std(), 2.0, rtol=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intermittent(fall_of_empires, 0, 0), "got period=0, active=0"),
        (lambda: intermittent(fall_of_empires, 2, 3), "0 <= active <= period"),
        (lambda: intermittent(fall_of_empires, 2, 1, first=-1), "first must be at least 0"),
        (lambda: free_riding(-1.0), "noise must be at least 0"),
        (lambda: free_riding(float("nan")), "noise must be at least 0"),
    ],
)
def test_wrong_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(TypeError, match="attack"):
        intermittent("little", 2, 1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("make", [relocating, free_riding, poisoned_fl])
def test_a_memory_of_aggregates_in_half_precision(make, dtype):
    """A loop's carry keeps its type; and what is remembered is the last aggregate."""
    attack, rows = make(), jnp.asarray(np.arange(24).reshape(2, 3, 4), dtype)

    def step(state, honest):
        sent, state = attack.send(KEY, honest, 2, state)
        return attack.learn(state, honest[0]), sent

    state, sent = jax.lax.scan(step, attack.start(4), rows)
    last = state.aggregate if make is poisoned_fl else state
    np.testing.assert_array_equal(last, [12, 13, 14, 15])
    assert sent.dtype == rows.dtype and bool(jnp.all(jnp.isfinite(sent)))
    if make is free_riding:
        np.testing.assert_array_equal(sent[1], [[0, 1, 2, 3]] * 2)
