"""Rules that remember decide alike whatever the size of the rows, beside one that is huge, and in
half precision.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.aggregators import (
    Root,
    adaptive_federated_averaging,
    bant,
    fedlaw,
    fldetector,
    foolsgold,
    safeguard,
    selection_of,
)
from simbyz.aggregators.trust.learned import sparse_capped_simplex
from tests.reference import remembering as reference
from tests.support.compiled import quick_jit

N, D, T = 9, 5, 14
RNG = np.random.default_rng(0)
STEPS = 1 + 0.1 * RNG.normal(size=(T, N, D))
STEPS[::2, 0], STEPS[1::2, 0] = 5, -5  # never what it sent before
STEPS[::2, 1], STEPS[1::2, 1] = -7, 7
# Squares of the first and the last are no floats.
SCALES = [2.0**-66, 2.0**-45, 1.0, 2.0**45, 2.0**66]


def watched(steps, scale):
    """Who is good after each step, by thresholds that scale along: (t, n)."""
    rule = safeguard((4, 2), thresholds=(1.2 * scale, 1.0 * scale))
    state, good, learn = rule.start(jnp.zeros(D), n=N), [], quick_jit(rule.learn)
    for rows in steps:
        state = learn(state, np.asarray(rows * scale, np.float32), np.zeros(D, np.float32))
        good.append(np.asarray(state.good))
    return np.array(good)


def watched_in_numpy(steps):
    good, long, short, seen = np.ones(N, bool), np.zeros((N, D)), np.zeros((N, D)), []
    for step, rows in enumerate(steps):
        long = (0 if step % 4 == 0 else long) + rows / good.sum()
        short = (0 if step % 2 == 0 else short) + rows / good.sum()
        stays = good.copy()
        for sums, threshold in ((long, 1.2), (short, 1.0)):
            apart = np.linalg.norm(sums[:, None] - sums[None], axis=2)
            counts = np.where(good, (good[None] & (apart <= threshold)).sum(axis=1), -1)
            stays &= apart[:, np.argmax(counts)] <= 2 * threshold
        good = stays
        seen.append(good)
    return np.array(seen)


@pytest.mark.parametrize("scale", SCALES)
def test_thresholds_are_in_the_units_of_the_rows(scale):
    steps = STEPS[:4].copy()
    steps[:, :2] = [[20] * D, [-2] * D]
    expected = watched_in_numpy(steps)
    assert expected.sum(axis=1).tolist() == [8, 8, 7, 7] and expected[-1, 2:].all()
    np.testing.assert_array_equal(watched(steps, scale), expected)


@quick_jit
def watched_by_fldetector(steps):
    rule = fldetector(3)

    def step(carry, given):
        (state, parameters), (rows, number) = carry, given
        aggregate = rule.aggregate(rows, 2, state=state)
        key = jax.random.key(number)
        state = rule.learn(state, rows, aggregate, key=key, parameters=parameters)
        return (state, parameters - 0.1 * aggregate), None

    start = rule.start(jnp.zeros(D), n=N), jnp.zeros(D)
    return jax.lax.scan(step, start, (steps, jnp.arange(T)))[0][0]


def detected(steps, scale):
    """Who is found, and the mean shares of the distances from what was predicted."""
    state = watched_by_fldetector(np.asarray(steps * scale, np.float32))
    return np.asarray(state.found), np.mean(state.misses, axis=0)


@pytest.mark.slower
def test_who_cannot_be_predicted_is_found_at_any_scale():
    found, shares = detected(STEPS, 1.0)
    assert np.flatnonzero(found).tolist() == [0, 1]
    for scale in SCALES:
        again, those = detected(STEPS, scale)
        np.testing.assert_array_equal(again, found)
        np.testing.assert_allclose(those, shares, rtol=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("loud", [1e20, 1e30, 3e38])
def test_one_huge_row_does_not_hide_behind_its_own_distance(loud):
    steps = STEPS.copy()
    steps[::2, 0] = loud
    found, shares = detected(steps, 1.0)
    np.testing.assert_allclose(shares[0], 1, rtol=1e-5)
    assert found[0]


def test_small_weights_of_foolsgold_are_shared_out_in_full():
    rows = np.asarray(STEPS[0], np.float32)
    rows[2:] += np.eye(N - 2, D, dtype=np.float32) * 3
    usual, faint = foolsgold(1e-2), foolsgold(1e-9)
    whole, part = (
        quick_jit(lambda rows, r=r: r.aggregate(rows, 2, state=r.start(jnp.zeros(D), n=N)))(rows)
        for r in (usual, faint)
    )
    np.testing.assert_allclose(part, whole, rtol=1e-5)  # no weight of either is cut at 1


@pytest.mark.parametrize("count", [3, 49])
@pytest.mark.parametrize("kind", [float, jnp.float32])
def test_as_many_caps_as_rows_are_one_whatever_they_are_rounded_to(count, kind):
    """49 * (1 / 49) < 1 in floats: still each of 49 weights is its cap."""
    rows = np.asarray(RNG.normal(size=(60, D)), np.float32)
    root = Root(jnp.zeros(D), 0.1, lambda parameters: jnp.sum(jnp.square(parameters - 1)))

    def weights(cap):
        rule = fedlaw(0.1, cap=cap, nonzero=count)
        state = rule.start(jnp.zeros(D), n=60)
        weigh = functools.partial(selection_of(rule.aggregate), f=5, state=state, root=root)
        return quick_jit(weigh)(rows)

    expected = np.concatenate([np.zeros(60 - count), np.full(count, 1 / count)])
    np.testing.assert_allclose(np.sort(weights(kind(1 / count))), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="no weights add up to 1"):
        weights(kind(0.99 / count))


NEAREST = quick_jit(sparse_capped_simplex, static_argnums=2)


@pytest.mark.parametrize(
    "wanted, cap, expected",
    [
        ([2e8, 2e8, 1e8], 1.0, [1 / 2, 1 / 2, 0]),
        ([2e8, -1e8, 1e8], 0.5, [1 / 2, 0, 1 / 2]),
        ([2e8, -1e8, 1e8], 0.4, [0.4, 0.2, 0.4]),
        ([2**20, 2**20 + 1 / 4, 2**20 - 1 / 8], 1.0, [7 / 24, 13 / 24, 4 / 24]),
        ([-3e30, -3e30, -3e30], 1.0, [1 / 3, 1 / 3, 1 / 3]),
        ([0.5, 0.25, 0.25], 1e9, [1 / 2, 1 / 4, 1 / 4]),
    ],
)
def test_a_point_of_the_simplex_beside_which_a_cap_is_rounded_away(wanted, cap, expected):
    """Moving all that is wanted by one number changes no nearest point."""
    got = NEAREST(np.asarray(wanted, np.float32), cap, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_weights_of_fedlaw_stay_whole_where_the_loss_is_steep():
    """Four workers send the same, so that each has a quarter; the fifth sends it turned around."""
    rule, rows = fedlaw(1.0), np.full((5, D), 1e3, np.float32)
    rows[4] *= -1
    root = Root(jnp.zeros(D), 1.0, lambda parameters: -1e5 * jnp.sum(parameters))
    state = rule.start(jnp.zeros(D), n=5)
    weigh = functools.partial(selection_of(rule.aggregate), f=1, state=state, root=root)
    weights = quick_jit(weigh)(-rows)
    np.testing.assert_allclose(weights, [1 / 4] * 4 + [0], rtol=1e-6)


def test_a_history_that_is_no_float_does_not_pardon_those_who_send_alike():
    steps = RNG.normal(size=(5, N, D)).astype(np.float32)
    steps[1:, 0] = 3e38  # whose sum is none from the third step on
    steps[:, N - 2] = steps[:, N - 1]
    rule = foolsgold()
    state, got = rule.start(jnp.zeros(D), n=N), []
    for rows in steps:
        got.append(np.asarray(rule.aggregate(rows, 2, state=state), float))
        state = rule.learn(state, jnp.asarray(rows), jnp.zeros(D))
    expected = reference.foolsgold(steps.astype(np.float64))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


HALVES = ["bfloat16", "float16"]
REMEMBER = [adaptive_federated_averaging, bant, lambda: fedlaw(0.01), fldetector, foolsgold]
REMEMBER += [lambda: safeguard((500, 500), thresholds=(1e3, 1e3))]


def known_of(rule, dtype):
    """What any of these is told in a step."""
    root = Root(jnp.zeros(D, dtype), 0.1, lambda parameters: jnp.sum(jnp.square(parameters - 1)))
    known = {"root": root, "key": jax.random.key(0), "parameters": jnp.zeros(D, dtype), "f": 2}
    return {name: known[name] for name in known if name in inspect.signature(rule).parameters}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("make", REMEMBER)
def test_a_mean_of_half_precision_is_rounded_once(make, dtype):
    """Whoever the first step weighs, and how: the weights are those that the rule tells of."""
    rule, rows = make(), jnp.asarray(STEPS[0], dtype)
    state = rule.start(jnp.zeros(D, dtype), n=N)
    known = known_of(rule.aggregate, dtype) | {"state": state}
    known.pop("f", None)
    both = (rule.aggregate, selection_of(rule.aggregate))
    got, weights = quick_jit(lambda rows: [part(rows, 2, **known) for part in both])(rows)
    shares = np.asarray(weights, np.float64)
    exact = shares @ np.asarray(rows, np.float64)
    assert got.dtype == rows.dtype and np.isclose(shares.sum(), 1, atol=1e-6)
    off = np.abs(np.asarray(got, np.float64) - exact)
    assert np.all(off <= 0.51 * float(jnp.finfo(dtype).eps) * np.abs(exact).max())


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("make", REMEMBER)
def test_a_memory_of_half_precision_goes_on_after_hundreds_of_steps(make, dtype):
    """A sum of ones in bfloat16 stays at 256, and what is a thousandth less is the same."""
    rule, rows = make(), jnp.asarray(np.tile([1.0, 2.0], (N, 1)).repeat([3, D - 3], axis=1), dtype)
    known = known_of(rule.learn, dtype)

    def step(state, _):
        return rule.learn(state, rows, rows[0], **known), None

    start = rule.start(jnp.zeros(D, dtype), n=N)
    state, _ = jax.jit(lambda start: jax.lax.scan(step, start, length=400))(start)
    total = 400 * np.asarray(rows, np.float64)
    if make is foolsgold:
        np.testing.assert_array_equal(state, total)
    elif make is adaptive_federated_averaging:
        np.testing.assert_array_equal(state.good, np.full(N, 3 + 400))
    elif make is REMEMBER[-1]:
        np.testing.assert_allclose(state.long, total / N, rtol=1e-5)
    elif make is bant:
        np.testing.assert_allclose(state, np.full(N, 1 / N), rtol=1e-5)
    elif make is fldetector:
        np.testing.assert_allclose(state.misses, 0, atol=1e-6)
    else:
        expected = [1 / 7] * 7 + [0] * 2  # of n - f, the earlier of equal ones
        np.testing.assert_allclose(state, expected, rtol=1e-5)
