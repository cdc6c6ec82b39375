"""Robustness coefficients: the floor, the published bounds, and what single cases realise."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.preaggregators import adaptive_robust_clipping, nearest_neighbor_mixing
from simbyz.simulator.certificates import (
    certify,
    coefficient_bound,
    least_coefficient_bound,
    realised_coefficient,
    realised_lambda,
    resilience_bound,
)
from simbyz.theory.robustness import (
    COEFFICIENT_BOUNDS,
    adaptive_clipping_coefficient,
    bucketing_coefficient,
    bucketing_resilience,
    coefficient_floor,
    krum_coefficient,
    least_spread_coefficient,
    median_coefficient,
    mixing_coefficient,
    multi_krum_coefficient,
    resilience,
    trimmed_mean_coefficient,
)
from simbyz.theory.variance_norm import VARIANCE_NORM_BOUNDS
from tests.support.compiled import compiled

N, F, D = 9, 3, 3


def krum(updates, f):
    return aggregators.krum(updates, f, neighbours=len(updates) - f - 1)


RULES = {
    "median": (aggregators.median, median_coefficient),
    "trimmed_mean": (aggregators.trimmed_mean, trimmed_mean_coefficient),
    "krum": (krum, krum_coefficient),
    "krum, fewer": (aggregators.krum, lambda n, f: multi_krum_coefficient(n, f, m=1)),
    "krum, more": (
        krum,
        lambda n, f: multi_krum_coefficient(n, f, m=1, neighbours=n - f - 1),
    ),
    "multi_krum": (aggregators.multi_krum, multi_krum_coefficient),
    "multi_krum, all": (
        functools.partial(aggregators.multi_krum, m=N - F),
        lambda n, f: multi_krum_coefficient(n, f, m=n - f),
    ),
    "geometric_median": (
        functools.partial(aggregators.geometric_median, smoothing=1e-6, iterations=64),
        median_coefficient,
    ),
    "minimum_variance_averaging": (
        aggregators.minimum_variance_averaging,
        least_spread_coefficient,
    ),
    "smea": (aggregators.smea, least_spread_coefficient),
    "mixed": (
        aggregators.chain(nearest_neighbor_mixing, aggregators.trimmed_mean),
        lambda n, f: mixing_coefficient(n, f, trimmed_mean_coefficient(n, f)),
    ),
    "clipped": (
        aggregators.chain(adaptive_robust_clipping, aggregators.trimmed_mean),
        lambda n, f: adaptive_clipping_coefficient(n, f, trimmed_mean_coefficient(n, f)),
    ),
}


def reference(aggregate, honest):
    center = np.mean(np.asarray(honest, np.float64), axis=0)
    distance = sum((a - c) ** 2 for a, c in zip(aggregate, center, strict=True))
    variance = sum(np.sum((np.asarray(x, np.float64) - center) ** 2) for x in honest) / len(honest)
    return distance / variance


def test_bounds_by_hand():
    assert coefficient_floor(5, 1) == pytest.approx(1 / 3)
    assert trimmed_mean_coefficient(5, 1) == pytest.approx(8 / 3)
    assert median_coefficient(5, 2) == pytest.approx(36)
    assert krum_coefficient(7, 2) == pytest.approx(10)
    # h = 5, q = 3, a = 2: √(7.5 / 2) + √(3 / 2); with all five, two of them bad, and one neighbour
    # more, a = 3: √6 / 5 + √(2 · 10 / 15) + 2 / 5 √(2 / 3).
    assert multi_krum_coefficient(7, 2, m=1) == pytest.approx((3.75**0.5 + 1.5**0.5) ** 2)
    assert multi_krum_coefficient(7, 2, m=5, neighbours=4) == pytest.approx(
        (6**0.5 / 5 + (20 / 15) ** 0.5 + 0.4 * (2 / 3) ** 0.5) ** 2
    )
    assert multi_krum_coefficient(9, 0, m=9) == 0
    assert least_spread_coefficient(7, 2) == pytest.approx(8 / 3)
    assert mixing_coefficient(5, 1, trimmed_mean_coefficient(5, 1)) == pytest.approx(22 / 3)
    assert mixing_coefficient(5, 0, 3.0) == 0
    assert mixing_coefficient(5, 0, math.inf) == mixing_coefficient(5, 1, math.inf) == math.inf
    assert adaptive_clipping_coefficient(7, 3, 1.0) == pytest.approx(7)
    assert coefficient_floor(5, 0) == trimmed_mean_coefficient(5, 0) == 0


@pytest.mark.parametrize("name", COEFFICIENT_BOUNDS)
@pytest.mark.parametrize(("n", "f"), [(5, 1), (9, 4), (20, 8), (101, 50)])
def test_no_bound_is_below_the_floor(name, n, f):
    assert COEFFICIENT_BOUNDS[name](n, f) >= coefficient_floor(n, f)
    assert set(COEFFICIENT_BOUNDS) < set(aggregators.AGGREGATORS)


@pytest.mark.parametrize(
    "bound", [coefficient_floor, trimmed_mean_coefficient, median_coefficient, krum_coefficient]
)
def test_refused(bound):
    with pytest.raises(ValueError, match=r"needs n >= 2f \+ 1, got n=6, f=3"):
        bound(6, 3)
    with pytest.raises(ValueError, match="needs f >= 0"):
        bound(6, -1)
    with pytest.raises(ValueError, match=r"needs n >= 2f \+ 1, got n=6, f=3"):
        mixing_coefficient(6, 3, 1.0)


@pytest.mark.parametrize("bound", [-1.0, float("nan")])
def test_no_coefficient_to_go_on_from(bound):
    for function in (mixing_coefficient, adaptive_clipping_coefficient, resilience):
        with pytest.raises(ValueError, match=f"needs (bound|coefficient) >= 0, got .*={bound}"):
            function(5, 1, bound)
    for function in (bucketing_coefficient, bucketing_resilience):
        with pytest.raises(ValueError, match=f"needs bound >= 0, got bound={bound}"):
            function(6, 1, 2, bound)


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (7, ValueError), (2.0, TypeError)])
def test_no_size_of_a_bucket(size, error):
    for function in (bucketing_coefficient, bucketing_resilience):
        with pytest.raises(error, match="bucket_size must be"):
            function(6, 0, size, 1.0)


@pytest.mark.parametrize(("n", "f"), [(5, 1), (11, 4), (20, 2), (103, 50)])
def test_the_bound_of_multi_krum(n, f):
    """Above the floor, no worse than krum's, and below the published one of one neighbour more."""
    of_krum = multi_krum_coefficient(n, f, m=1)
    for m in range(1, n - f + 1):
        assert coefficient_floor(n, f) <= multi_krum_coefficient(n, f, m=m) <= of_krum
    assert multi_krum_coefficient(n, f, m=1, neighbours=n - f - 1) < krum_coefficient(n, f)


@pytest.mark.parametrize(
    ("n", "options", "words"),
    [
        (8, {}, r"needs n >= 2f \+ 3, got n=8, f=3"),
        (9, {"m": 7}, "1 <= m <= 6 and 3 <= neighbours <= 5, got m=7"),
        (9, {"neighbours": 2}, "got m=4, neighbours=2"),
    ],
)
def test_no_bound_of_multi_krum(n, options, words):
    with pytest.raises(ValueError, match=words):
        multi_krum_coefficient(n, 3, **options)


@pytest.mark.parametrize("n", [5.5, float("nan"), "7", True])
def test_workers_are_counted(n):
    bounds = {**COEFFICIENT_BOUNDS, **VARIANCE_NORM_BOUNDS}
    for bound in (*bounds.values(), multi_krum_coefficient, coefficient_floor):
        with pytest.raises(TypeError, match="n must be an int, got"):
            bound(n, 0)


def test_realised_coefficient():
    honest = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    aggregate = honest[0]
    got = realised_coefficient(aggregate, honest)
    assert got == pytest.approx(reference(aggregate, honest), rel=1e-5)
    shifted = realised_coefficient(aggregate + 3, honest + 3)
    assert shifted == pytest.approx(float(got), rel=1e-4)
    assert realised_coefficient(7 * aggregate, 7 * honest) == pytest.approx(float(got), rel=1e-5)


def test_realised_coefficient_where_it_is_degenerate():
    ones = jnp.ones((4, 3))
    assert realised_coefficient(ones[0], ones) == 0
    assert realised_coefficient(ones[0] + 1, ones) == jnp.inf
    assert jnp.isnan(realised_coefficient(ones[0] * jnp.nan, ones))
    low = realised_coefficient(jnp.ones(3, jnp.bfloat16), jnp.eye(3, dtype=jnp.bfloat16))
    assert low.dtype == jnp.float32


def test_equal_rows_realise_nothing_whatever_their_mean_is_rounded_to():
    row = jnp.asarray(np.random.default_rng(0).normal(size=6), jnp.float32)
    for count in (3, 7):
        alike = jnp.tile(row, (count, 1))
        assert realised_coefficient(row, alike) == 0
        assert realised_coefficient(row.at[2].multiply(1 + 1e-7), alike) == 0
        assert realised_coefficient(row.at[2].multiply(1 + 1e-5), alike) > 1e3
        assert realised_lambda(aggregate=row, honest=alike) == 0


@pytest.mark.slower
@pytest.mark.parametrize("name", RULES)
def test_the_proof_s_case_realises_the_floor(name):
    """n - f zeros, f ones of which the honest rows hold all: no rule can tell."""
    rule, _ = RULES[name]
    stack = jnp.asarray(np.repeat([1.0, 0.0], [F, N - F])[:, None] * np.ones((1, D)), jnp.float32)
    honest = stack[: N - F]
    realised = realised_coefficient(compiled(rule, f=F)(stack), honest)
    assert realised == pytest.approx(coefficient_floor(N, F), rel=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("name", RULES)
def test_a_search_finds_no_case_above_the_bound(name):
    """Random cases, those kept that realise more: the largest over all S stays below the bound."""
    rule, bound = RULES[name]
    subsets = np.array(list(itertools.combinations(range(N), N - F)))

    @jax.jit
    @jax.vmap
    def largest(stack):
        aggregate = rule(stack, F)
        of_subset = jax.vmap(realised_coefficient, in_axes=(None, 0))
        return jnp.max(of_subset(aggregate, stack[subsets]))

    rng = np.random.default_rng(0)
    cases = rng.normal(size=(256, N, D)) * np.exp(rng.normal(size=(256, N, 1)))
    cases[:128, :, :] += 5 * rng.integers(0, 2, size=(128, N, 1))
    best = np.array(largest(cases.astype(np.float32)))
    for _ in range(30):
        size = np.exp(rng.uniform(-6, 1, size=(256, 1, 1)))
        moved = cases + size * rng.normal(size=cases.shape)
        found = np.asarray(largest(moved.astype(np.float32)))
        better = found > best
        cases[better], best[better] = moved[better], found[better]
    assert coefficient_floor(N, F) * 0.5 < best.max() <= bound(N, F)


def test_certificates_of_what_is_none(unchecked_shapes):
    for name, call in (
        ("realised_coefficient", realised_coefficient),
        ("realised_lambda", lambda *rows: realised_lambda(aggregate=rows[0], honest=rows[1])),
        ("certify", certify),
    ):
        for shapes in (((3,), (4, 2)), ((3,), (3,)), ((), (4, 1))):
            with pytest.raises(ValueError, match=rf"^{name} needs an aggregate \(d,\) and honest "):
                call(*map(jnp.ones, shapes))
    for bound in (coefficient_bound, least_coefficient_bound, resilience_bound):
        for rule in (None, "median"):
            with pytest.raises(TypeError, match="^rule must be a function, such as .*, got "):
                bound(rule, 7, 2)
        with pytest.raises(TypeError, match="^f must be an int, got 2.0"):
            bound(aggregators.median, 7, 2.0)
        assert bound(aggregators.foolsgold(), 7, 2) is None
