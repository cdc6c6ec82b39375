"""Rules at a node against loops over its neighbours; no attacker carries a rule away."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.aggregators import monna, selection_of
from simbyz.gossip import GOSSIP_RULES, rules
from tests.reference import gossip as reference
from tests.support.compiled import compiled, quick_jit

GENERATOR = np.random.default_rng(5)
ROWS = GENERATOR.normal(size=(9, 4)).astype(np.float32)
UNEQUAL = (GENERATOR.random(9) + 0.2).astype(np.float32)
UNEQUAL /= UNEQUAL.sum()
EQUAL = np.full(9, 1 / 9, np.float32)
HONEST = np.arange(9) < 7
ROBUST = [name for name in GOSSIP_RULES if name != "gossip"]


def loss_of(row):
    return ((row - 0.3) ** 2).sum()


def told(name, weights):
    return {
        "self_centred_clipping": {"weights": weights, "radius": 1.5},
        "oracle_clipping": {"weights": weights, "honest": jnp.asarray(HONEST)},
        "bridge": {},
        "ubar": {"loss_of": loss_of},
    }.get(name, {"weights": weights})


@functools.cache
def program(name, f):
    """The rule and its selection over all cases at once."""
    rule = GOSSIP_RULES[name]

    def both(rows, weights):
        given = told(name, weights)
        given = {
            key: jnp.asarray(v) if isinstance(v, np.ndarray) else v for key, v in given.items()
        }
        return rule(rows, f, **given), selection_of(rule)(rows, f, **given)

    return quick_jit(jax.vmap(both))


@pytest.mark.parametrize(
    "name, f", [*((name, 2) for name in GOSSIP_RULES), ("clipped_gossip", 0), ("gts", 0)]
)
def test_rule_is_the_loop_at_every_scale(name, f):
    far, broken = ROWS.copy(), ROWS.copy()
    far[7:] += 40
    broken[7], broken[8] = np.nan, np.inf
    cases = [(ROWS, EQUAL), (ROWS, UNEQUAL), (far, UNEQUAL), (far, EQUAL), (ROWS + 5, UNEQUAL)]
    cases.append((broken if name != "gossip" and f else far, UNEQUAL))
    # What has a size of its own is not the same at another.
    sizes = [1e-25, 1e25] if name not in ("self_centred_clipping", "ubar") else [1, 2]
    cases += [(ROWS * np.float32(size), UNEQUAL) for size in sizes]
    stack = jnp.stack([rows for rows, _ in cases]), jnp.stack([weights for _, weights in cases])
    made, shares = program(name, f)(*stack)
    for one, own, (rows, weights) in zip(made, shares, cases, strict=True):
        expected = getattr(reference, name)(
            rows.astype(float), f, **told(name, weights.astype(float))
        )
        size = np.abs(rows[:7]).max()
        np.testing.assert_allclose(one / size, expected / size, rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(own.sum(), 1, rtol=1e-5)
        if name != "bridge" and np.isfinite(rows).all():
            np.testing.assert_allclose(own @ rows / size, one / size, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in ROBUST if name not in ("bridge", "ubar")])
def test_rows_whose_distances_are_no_floats_are_neighbours(name):
    """Each row is finite, and so is the result; the same with a row of NaN among them."""
    rows, f = np.concatenate([ROWS] * 9, axis=1) * np.float32(9e37), 2
    given = told(name, UNEQUAL) | ({"radius": 3e38} if name == "self_centred_clipping" else {})
    small = {key: value / 9e37 if key == "radius" else value for key, value in given.items()}
    rule = quick_jit(lambda rows: GOSSIP_RULES[name](rows, f, **given))
    for spoiled in (rows, np.where(np.arange(9)[:, None] == 8, np.nan, rows)):
        expected = getattr(reference, name)(spoiled.astype(float) / 9e37, f, **small)
        made = np.asarray(rule(spoiled), float) / 9e37
        np.testing.assert_allclose(made, expected, rtol=2e-5, atol=1e-5)


FILLERS = {"own": ROWS[0], "near": ROWS[0] + 0.01, "zero": 0 * ROWS[0], "far": ROWS[0] + 50}


@pytest.mark.parametrize("name", [name for name in GOSSIP_RULES if name not in ("bridge", "ubar")])
def test_a_neighbour_of_weight_0_is_none(name):
    """Wherever it is, the rule makes what the loop makes of the others."""
    given = told(name, np.insert(UNEQUAL, [3, 9], 0))
    if name == "oracle_clipping":
        given["honest"] = np.insert(HONEST, [3, 9], False)
    rule = quick_jit(lambda rows, given: GOSSIP_RULES[name](rows, 2, **given))
    expected = getattr(reference, name)(ROWS.astype(float), 2, **told(name, UNEQUAL.astype(float)))
    for filler in FILLERS.values():
        made = rule(np.insert(ROWS, [3, 9], filler, axis=0), given)
        np.testing.assert_allclose(made, expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", ROBUST)
def test_two_liars_move_no_node_far(name):
    lies = [1e3, 1e12, 1e30, 1e38, np.nan, np.inf, -1e3, -1e30, -1e38, -3e38, -np.inf]
    stack = np.stack([ROWS] * len(lies))
    stack[:, 7:] = np.array(lies, np.float32)[:, None, None]
    made, _ = program(name, 2)(jnp.asarray(stack), jnp.stack([EQUAL] * len(lies)))
    assert np.abs(made).max() < 4 * np.abs(ROWS).max()
    if name in ("gts", "ios", "remove_then_clip"):  # which leave them out
        expected = getattr(reference, name)(stack[1].astype(float), 2, EQUAL.astype(float))
        np.testing.assert_allclose(made, np.stack([expected] * len(lies)), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["clipped_gossip", "clipped_gossip_plus", "gts", "ios"])
def test_equal_weights_and_long_rows_in_half_precision(name):
    """Squares of these distances are no float16, and 6 weights of 1/11 add up to more than 6/11."""
    rows, weights = 1000 * np.arange(11.0)[:, None], np.full(11, 1 / 11)
    expected = getattr(reference, name)(rows, 2, weights)
    rule = compiled(GOSSIP_RULES[name], f=2)
    made = rule(rows.astype(np.float16), weights=weights.astype(np.float16))
    assert made.dtype == np.float16
    np.testing.assert_allclose(np.asarray(made, float), expected, rtol=3e-3)


def test_bridge_of_half_precision_is_rounded_once():
    rows = np.random.default_rng(3).integers(-3, 4, (26, 31)).astype(np.float16)
    made = compiled(rules.bridge, f=1)(rows)
    expected = reference.bridge(rows.astype(float), 1)
    np.testing.assert_allclose(np.asarray(made, float), expected, rtol=2.0**-11, atol=1e-7)


@pytest.mark.slower
@pytest.mark.parametrize("n, f", [(10, 2), (11, 5)])
def test_gts_drops_what_rounding_leaves_of_a_weight(n, f):
    """Of equal weights the f farthest count for nothing, however far they are."""
    rows = np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32)
    rows[-f:] = 1e12
    weights = np.full(n, 1 / n, np.float32)
    kept = rows[1 : n - f].astype(float)
    expected = rows[0] + np.sum(kept - rows[0], axis=0) / n
    made = compiled(rules.gts, f=f)(rows, weights=weights)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    shares = compiled(rules.gts_selection, f=f)(rows, weights=weights)
    np.testing.assert_array_equal(shares[-f:], 0)


@pytest.mark.slower
def test_gts_of_equal_weights_is_what_monna_averages():
    f, n = 3, len(ROWS)
    made = compiled(rules.gts, f=f)(ROWS, weights=EQUAL)
    nearest = compiled(monna, f=f)(ROWS)
    np.testing.assert_allclose(made, ((n - f) * nearest + f * ROWS[0]) / n, rtol=1e-5)


@pytest.mark.parametrize("name", ROBUST)
def test_each_rule_refuses_too_many_liars(name):
    n = 2 * 4 + (1 if name in ("bridge", "ubar") else 0)
    needs = "2f \\+ 2" if name in ("bridge", "ubar") else "2f \\+ 1"
    rows, weights = np.ones((n, 2), np.float32), np.full(n, 1 / n, np.float32)
    with pytest.raises(ValueError, match=f"{name} needs n >= {needs}, got n={n}, f=4"):
        GOSSIP_RULES[name](rows, 4, **told(name, weights))


def test_a_bound_on_the_weight_takes_the_place_of_f():
    heavy = np.array([0.2, 0.4, 0.1, 0.1, 0.1, 0.1], np.float32)
    rows = ROWS[:6]
    made = compiled(rules.gts, f=2, byzantine_weight=0.2)(rows, weights=heavy)
    kept = compiled(rules.gts, f=2)(rows, weights=heavy)
    assert not np.allclose(made, kept)
    order = reference.by_distance(rows)
    left, shares = 0.6, [0.0] * 6
    for j in order:
        shares[j] = max(0.0, min(float(heavy[j]), left))
        left -= shares[j]
    np.testing.assert_allclose(made, reference.moved(rows.astype(float), shares), rtol=1e-5)
    with pytest.raises(ValueError, match="byzantine_weight >= 0"):
        rules.gts(rows, 2, weights=heavy, byzantine_weight=-1.0)
    with pytest.raises(ValueError, match="radius >= 0"):
        rules.self_centred_clipping(rows, 2, weights=heavy, radius=np.nan)
