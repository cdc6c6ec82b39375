"""The climbing attack: never weaker than its starts, optimal where the optimum is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.aggregators import AGGREGATORS
from simbyz.attacks.searched.adaptive import opposition, worth_of
from simbyz.attacks.searched.gradient_ascent import SYMMETRIES, gradient_ascent
from tests.support.compiled import compiled, quick_jit

KEY = jax.random.key(0)
HONEST = np.random.default_rng(7).normal(size=(8, 6)).astype(np.float32)
STARTS = (attacks.a_little_is_enough, attacks.fall_of_empires)


@functools.cache
def weigher(rule, f, objective):
    return quick_jit(worth_of(rule, HONEST, f, objective))


def worth(rule, rows, f=3, objective=None):
    return float(np.sum(weigher(rule, f, objective)(rows)))


@functools.cache  # a climb through a rule takes seconds to compile
def ascent(rule, num_byzantine=3, **options):
    attack = gradient_ascent(rule, **{"iterations": 10, "climbers": 2} | options)
    return quick_jit(attack, static_argnums=2)(KEY, HONEST, num_byzantine)


def krum_of_many(updates, f):
    return aggregators.multi_krum(updates, f, neighbours=len(updates) - f - 1, squared=False)


def orthogonal(d):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0].astype(np.float32)


@pytest.mark.slower
@pytest.mark.parametrize("name", SYMMETRIES)
def test_the_symmetries_of_rules(name):
    rule = compiled(AGGREGATORS[name], f=2)
    stack = np.concatenate([HONEST, 3 + HONEST[:2]])
    if SYMMETRIES[name] == "rotations":
        rotation = orthogonal(6)
        np.testing.assert_allclose(rule(stack @ rotation), rule(stack) @ rotation, atol=1e-5)
    else:
        for k in range(6):
            np.testing.assert_allclose(rule(stack[:, k : k + 1]), rule(stack)[k : k + 1], atol=1e-6)


# A climb through a rule takes seconds to compile: two are among the longer checks.
CASES = [
    (aggregators.median, "coordinates", None),
    (aggregators.median, "coordinates", opposition),
    (aggregators.median, None, None),
    (aggregators.krum, "rotations", None),
    (aggregators.krum, "rotations", opposition),
    *((aggregators.meamed, "coordinates", objective) for objective in (None, opposition)),
    (krum_of_many, "rotations", opposition),
]
MORE_CASES = [
    (aggregators.median, None, opposition),
    (krum_of_many, "rotations", None),
]


@pytest.mark.slower
@pytest.mark.parametrize(
    ("rule", "symmetry", "objective"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.thorough) for case in MORE_CASES)],
)
def test_never_weaker_than_its_starts(rule, symmetry, objective):
    rows = ascent(rule, symmetry=symmetry, objective=objective)
    assert rows.shape == (3, 6)
    assert np.isfinite(rows).all()
    for start in STARTS:
        assert worth(rule, rows, 3, objective) >= worth(rule, start(KEY, HONEST, 3), 3, objective)


@pytest.mark.slower
def test_a_start_that_cannot_be_bettered_is_kept():
    def huge(key, honest, num_byzantine):
        return jnp.full((num_byzantine, honest.shape[1]), 1e15, honest.dtype)

    rows = ascent(aggregators.average, starts=(huge,), symmetry="rotations")
    assert worth(aggregators.average, rows) >= worth(aggregators.average, huge(KEY, HONEST, 3))


@pytest.mark.slower
@pytest.mark.parametrize(("rule", "trimmed"), [("median", False), ("trimmed_mean", True)])
def test_it_finds_the_optimum_of_rules_that_are_monotone(rule, trimmed):
    """In each coordinate, all attackers beyond the honest values on the side that moves most."""
    h, b = len(HONEST), 3
    ascending = np.sort(HONEST.astype(np.float64), axis=0)
    if trimmed:
        above, below = ascending[b:].mean(axis=0), ascending[: h - b].mean(axis=0)
    else:
        middle = (h + b - 1) // 2
        above, below = ascending[middle], ascending[middle - b]
    mean = HONEST.astype(np.float64).mean(axis=0)
    best = np.maximum((above - mean) ** 2, (below - mean) ** 2).sum()
    rule = getattr(aggregators, rule)
    got = worth(rule, ascent(rule, symmetry="coordinates", iterations=0))
    assert got == pytest.approx(best, rel=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("rule", [aggregators.meamed, aggregators.phocas])
def test_it_beats_every_common_value_of_rules_that_are_not(rule):
    """The best of a fine grid of values, the same for all attackers, in each coordinate."""
    grid = np.linspace(-6, 6, 2001, dtype=np.float32)

    def at(value):
        rows = jnp.full((3, 6), value)
        return worth_of(rule, HONEST, 3)(rows)

    best = float(jnp.sum(jnp.max(quick_jit(lambda: jax.lax.map(at, grid))(), axis=0)))
    got = worth(rule, ascent(rule, symmetry="coordinates", iterations=60, climbers=4))
    assert got >= 0.999 * best


@pytest.mark.slower
@pytest.mark.parametrize(
    "rule", [aggregators.krum, pytest.param(krum_of_many, marks=pytest.mark.thorough)]
)
def test_krum_is_moved_more_than_by_any_searched_factor(rule):
    searched = max(
        worth(rule, quick_jit(attacks.adaptive(direction, rule), static_argnums=2)(KEY, HONEST, 3))
        for direction in ("little", "little-negative", "empire")
    )
    assert worth(rule, ascent(rule, symmetry="rotations", iterations=40)) > 1.1 * searched


@pytest.mark.slower
def test_rotations_give_what_the_whole_space_gives_to_rounding():
    """The climb takes place in few coordinates; its result is weighed in all of them."""
    wide = np.concatenate([HONEST, np.zeros((8, 40), np.float32)], axis=1) @ orthogonal(46)
    attack = gradient_ascent(aggregators.krum, symmetry="rotations", iterations=20, climbers=2)
    rows = quick_jit(attack, static_argnums=2)(KEY, wide, 3)
    value = float(np.sum(quick_jit(worth_of(aggregators.krum, wide, 3))(rows)))
    assert value > 0.9 * worth(aggregators.krum, ascent(aggregators.krum, symmetry="rotations"))


@pytest.mark.slower
def test_pytree_dtype_and_absence():
    attack = gradient_ascent(aggregators.median, symmetry="coordinates", iterations=2)
    tree = {"a": HONEST[:, :2].reshape(8, 2, 1), "b": jnp.asarray(HONEST[:, 2:], jnp.bfloat16)}
    rows = quick_jit(attack, static_argnums=2)(KEY, tree, 3)
    assert rows["a"].shape == (3, 2, 1)
    assert (rows["b"].shape, rows["b"].dtype) == ((3, 4), jnp.bfloat16)
    assert attack(KEY, HONEST, 0).shape == (0, 6)


def test_bad_input(unchecked_shapes):
    with pytest.raises(ValueError, match='symmetry must be "coordinates", "rotations" or None'):
        gradient_ascent(aggregators.median, symmetry="mirrors")
    for options in ({"climbers": 0}, {"iterations": -1}, {"starts": ()}):
        with pytest.raises(ValueError, match="needs climbers >= 1, iterations >= 0 and a start"):
            gradient_ascent(aggregators.median, **options)
    with pytest.raises(ValueError, match="at least 2 honest rows, got 1"):
        traced(gradient_ascent(aggregators.median, f=0), HONEST[:1], 1)
    with pytest.raises(ValueError, match="n >= 2f \\+ 3"):
        traced(gradient_ascent(aggregators.krum), HONEST, 6)


def traced(attack, honest, num_byzantine):
    return jax.eval_shape(lambda rows: attack(KEY, rows, num_byzantine), honest)
