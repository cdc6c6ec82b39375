"""The climbing attack: never weaker than its starts, optimal where the optimum is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.aggregators import AGGREGATORS
from simbyz.attacks.searched.adaptive import (
    opposition,
    search_factor,
    squared_distance,
    worth_of,
)
from simbyz.attacks.searched.gradient_ascent import SYMMETRIES, gradient_ascent
from tests.support.compiled import compiled, quick_jit
from tests.support.rules import D, F, gaussian_rows

KEY = jax.random.key(0)
HONEST = np.random.default_rng(7).normal(size=(8, 6)).astype(np.float32)
STARTS = (attacks.a_little_is_enough, attacks.fall_of_empires)


@functools.cache  # a climb through a rule takes seconds to compile
def climbing(rule, symmetry, iterations=60, climbers=4, starts=STARTS):
    """Whether to oppose the mean, or to go far from it -> what is sent, and what that and each
    start are worth.
    """

    @quick_jit
    def climb(opposing):
        def objective(aggregate, mean):
            both = opposition(aggregate, mean), squared_distance(aggregate, mean)
            return jnp.where(opposing, *both)

        options = dict(symmetry=symmetry, iterations=iterations, climbers=climbers, starts=starts)
        attack = gradient_ascent(rule, objective=objective, **options)
        rows = attack(KEY, HONEST, 3)
        worth = worth_of(rule, HONEST, 3, objective)
        sent = jnp.stack([rows, *(start(KEY, HONEST, 3) for start in starts)])
        return rows, jax.lax.map(lambda rows: jnp.sum(worth(rows)), sent)

    return climb


def krum_of_many(updates, f):
    return aggregators.multi_krum(updates, f, neighbours=len(updates) - f - 1, squared=False)


def orthogonal(d):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0].astype(np.float32)


@pytest.mark.slower
@pytest.mark.parametrize("name", SYMMETRIES)
def test_the_symmetries_of_rules(name):
    rule, stack = compiled(AGGREGATORS[name], f=F), gaussian_rows(7)
    stack[:F] += 3
    if SYMMETRIES[name] == "rotations":
        rotation = orthogonal(D)
        np.testing.assert_allclose(rule(stack @ rotation), rule(stack) @ rotation, atol=1e-5)
    else:
        for k in range(D):
            others = gaussian_rows(8)
            others[:, k] = stack[:, k]
            np.testing.assert_allclose(rule(others)[k], rule(stack)[k], atol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize(
    ("rule", "symmetry"),
    [
        (aggregators.median, "coordinates"),
        (aggregators.median, None),
        (aggregators.krum, "rotations"),
        (aggregators.meamed, "coordinates"),
        (krum_of_many, "rotations"),
    ],
)
def test_never_weaker_than_its_starts(rule, symmetry):
    for opposing in (False, True):
        rows, (worth, *of_starts) = climbing(rule, symmetry)(opposing)
        assert rows.shape == (3, 6)
        assert np.isfinite(rows).all()
        assert worth >= max(of_starts)


@pytest.mark.slower
def test_a_start_that_cannot_be_bettered_is_kept():
    def huge(key, honest, num_byzantine):
        return jnp.full((num_byzantine, honest.shape[1]), 1e15, honest.dtype)

    _, (worth, of_start) = climbing(aggregators.average, "rotations", 10, 2, (huge,))(False)
    assert worth >= of_start


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
    _, worths = climbing(getattr(aggregators, rule), "coordinates", iterations=0)(False)
    assert worths[0] == pytest.approx(best, rel=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("rule", [aggregators.meamed, aggregators.phocas])
def test_it_beats_every_common_value_of_rules_that_are_not(rule):
    """The best of a fine grid of values, the same for all attackers, in each coordinate."""
    grid = np.linspace(-6, 6, 2001, dtype=np.float32)

    def at(value):
        rows = jnp.full((3, 6), value)
        return worth_of(rule, HONEST, 3)(rows)

    best = np.max(quick_jit(lambda: jax.lax.map(at, grid))(), axis=0).sum()
    _, worths = climbing(rule, "coordinates")(False)
    assert worths[0] >= 0.999 * best


@pytest.mark.slower
@pytest.mark.parametrize("rule", [aggregators.krum, krum_of_many])
def test_krum_is_moved_more_than_by_any_searched_factor(rule):
    mean, deviation = HONEST.mean(axis=0), HONEST.std(axis=0)

    def along(vector):
        def direction(key, honest, num_byzantine, *, factor):
            return jnp.broadcast_to(mean + factor * vector, (num_byzantine, len(mean)))

        return search_factor(KEY, HONEST, 3, direction=direction, rule=rule).value

    searched = quick_jit(lambda: jax.lax.map(along, np.stack([deviation, -deviation, -mean])))()
    _, worths = climbing(rule, "rotations")(False)
    assert worths[0] > 1.1 * np.max(searched)


@pytest.mark.slower
def test_rotations_give_what_the_whole_space_gives_to_rounding():
    """The climb takes place in few coordinates; its result is weighed in all of them."""
    wide = np.concatenate([HONEST, np.zeros((8, 40), np.float32)], axis=1) @ orthogonal(46)
    attack = gradient_ascent(aggregators.krum, symmetry="rotations", iterations=20, climbers=2)

    @quick_jit
    def worth(wide):
        return jnp.sum(worth_of(aggregators.krum, wide, 3)(attack(KEY, wide, 3)))

    _, worths = climbing(aggregators.krum, "rotations")(False)
    assert worth(wide) > 0.9 * worths[0]


@pytest.mark.slower
def test_pytree_dtype_and_absence():
    attack = gradient_ascent(aggregators.median, symmetry="coordinates", iterations=2)
    tree = {"a": HONEST[:, :2].reshape(8, 2, 1), "b": jnp.asarray(HONEST[:, 2:], jnp.bfloat16)}
    rows = quick_jit(attack, static_argnums=2)(KEY, tree, 3)
    assert rows["a"].shape == (3, 2, 1)
    assert (rows["b"].shape, rows["b"].dtype) == ((3, 4), jnp.bfloat16)
    assert traced(attack, HONEST, 0).shape == (0, 6)


def test_bad_input(unchecked_shapes):
    with pytest.raises(ValueError, match='symmetry must be "coordinates", "rotations" or None'):
        gradient_ascent(aggregators.median, symmetry="mirrors")
    for options in ({"climbers": 0}, {"iterations": -1}, {"starts": ()}):
        with pytest.raises(ValueError, match="needs climbers >= 1, iterations >= 0 and a start"):
            gradient_ascent(aggregators.median, **options)
    for starts in ("zero", attacks.zero, None):
        with pytest.raises(TypeError, match="starts must be a list of attacks, got "):
            gradient_ascent(aggregators.median, starts=starts)
    for start in ("zero", lambda key, honest: honest, attacks.xfed()):
        with pytest.raises(TypeError, match="each start must be a function, such as .*, got "):
            gradient_ascent(aggregators.median, starts=[start])
    with pytest.raises(ValueError, match="at least 2 honest rows, got 1"):
        traced(gradient_ascent(aggregators.median, f=0), HONEST[:1], 1)
    with pytest.raises(ValueError, match="n >= 2f \\+ 3"):
        traced(gradient_ascent(aggregators.krum), HONEST, 6)


def traced(attack, honest, num_byzantine):
    return jax.eval_shape(lambda rows: attack(KEY, rows, num_byzantine), honest)
