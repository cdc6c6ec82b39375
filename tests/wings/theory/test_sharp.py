"""Sharp bounds: exact ones are reached by zeros and ones, and no bound is passed by random rows.

The rules are written out in NumPy.
"""

import functools
import inspect
import itertools
import math

import jax
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.preaggregators import nearest_neighbor_mixing
from simbyz.simulator.certificates import (
    coefficient_bound,
    least_coefficient_bound,
    resilience_bound,
)
from simbyz.theory import robustness, sharp
from tests.support.compiled import compiled

SIZES = [(3, 1), (4, 1), (5, 1), (5, 2), (6, 2), (7, 2), (7, 3), (8, 3), (6, 0)]


def trimmed_mean(rows, f):
    return np.sort(rows, axis=0)[f : len(rows) - f].mean(axis=0)


def median(rows, f):
    return np.sort(rows, axis=0)[(len(rows) - 1) // 2]


def midpoint(rows, f):
    return np.median(rows, axis=0)


def nearest(center):
    def rule(rows, f):
        apart = np.abs(rows - center(rows, f))
        kept = np.argsort(apart, axis=0, kind="stable")[: len(rows) - f]
        return np.take_along_axis(rows, kept, axis=0).mean(axis=0)

    return rule


def multi_krum(m, q):
    def rule(rows, f):
        squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
        scores = np.sort(squares, axis=1)[:, 1 : q(len(rows), f) + 1].sum(axis=1)
        return rows[np.argsort(scores, kind="stable")[: m(len(rows), f)]].mean(axis=0)

    return rule


def least_diameter(rows, f):
    chosen = itertools.combinations(range(len(rows)), len(rows) - f)
    return rows[list(min(chosen, key=lambda some: diameter(rows[list(some)])))].mean(axis=0)


def geometric_median(rows, f):
    """By many steps, from every side of a row that it may be."""
    point = rows.mean(axis=0) + 1e-9
    for _ in range(3000):
        weights = 1 / np.maximum(np.linalg.norm(rows - point, axis=1), 1e-12)
        point = weights @ rows / weights.sum()
    return point


def mixed(rows, f):
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    kept = np.argsort(apart, axis=1, kind="stable")[:, : len(rows) - f]
    return rows[kept].mean(axis=1)


def diameter(rows):
    return np.linalg.norm(rows[:, None] - rows[None], axis=2).max()


def realised(rule, rows, f):
    """The largest κ and λ over every S of n - f rows."""
    made, worst = rule(rows, f), (0.0, 0.0)
    for some in itertools.combinations(range(len(rows)), len(rows) - f):
        honest = rows[list(some)]
        off = np.linalg.norm(made - honest.mean(axis=0))
        variance = ((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean()
        if off > 1e-9:
            one = (off**2 / variance, off / diameter(honest)) if variance else (np.inf, np.inf)
            worst = tuple(map(max, worst, one))
    return worst


@pytest.mark.parametrize(("n", "f"), SIZES)
def test_exact_coefficients_are_the_worst_of_zeros_and_ones(n, f):
    cases = [np.array(one, float)[:, None] for one in itertools.product((0, 1), repeat=n)]
    for rule, exact in (
        (trimmed_mean, sharp.trimmed_mean_coefficient(n, f)),
        (median, sharp.median_coefficient(n, f)),
        (midpoint, sharp.median_coefficient(n, f, midpoint=True)),
    ):
        worst = max(realised(rule, rows, f)[0] for rows in cases)
        assert worst == pytest.approx(exact, rel=1e-12), rule


FEWER = {"m": lambda n, f: 1, "q": lambda n, f: n - f - 2}
BOUNDED = {
    "trimmed_mean": (trimmed_mean, sharp.trimmed_mean_coefficient, sharp.trimmed_mean_resilience),
    "median": (median, sharp.median_coefficient, sharp.median_resilience),
    "midpoint": (
        midpoint,
        functools.partial(sharp.median_coefficient, midpoint=True),
        functools.partial(sharp.median_resilience, midpoint=True),
    ),
    "meamed": (nearest(median), sharp.meamed_coefficient, sharp.nearest_values_resilience),
    "phocas": (nearest(trimmed_mean), sharp.phocas_coefficient, sharp.nearest_values_resilience),
    "least diameter": (
        least_diameter,
        sharp.least_diameter_coefficient,
        robustness.least_diameter_resilience,
    ),
    "krum": (multi_krum(**FEWER), sharp.krum_coefficient, sharp.krum_resilience),
    "krum, more": (
        multi_krum(lambda n, f: 1, lambda n, f: n - f - 1),
        lambda n, f: sharp.krum_coefficient(n, f, neighbours=n - f - 1),
        lambda n, f: sharp.krum_resilience(n, f, neighbours=n - f - 1),
    ),
    "multi_krum": (
        multi_krum(lambda n, f: n - f, lambda n, f: n - f - 1),
        None,
        lambda n, f: sharp.krum_resilience(n, f, m=n - f, neighbours=n - f - 1),
    ),
    "geometric_median": (
        geometric_median,
        sharp.geometric_median_coefficient,
        sharp.geometric_median_resilience,
    ),
}


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize(("n", "f"), [(5, 1), (6, 1), (7, 2)])
def test_no_configuration_passes_a_bound(name, n, f):
    """Random ones, of few values and of many, some rows alike, some far away."""
    rule, coefficient, resilience = BOUNDED[name]
    generator = np.random.default_rng(n)
    for d in (1, 2, 4):
        bounds = [
            math.inf if coefficient is None else coefficient(n, f),
            least(resilience, n, f, d),
        ]
        for case in range(8 if name == "geometric_median" else 40):
            rows = generator.normal(size=(n, d))
            if case % 3 == 0:
                rows = generator.integers(0, 3, (n, d)).astype(float)
            if case % 4 == 0:
                rows[-f:] = rows[0] * 3
            if case % 5 == 0:
                rows[: n // 2] = rows[0]
            worst = realised(rule, rows, f)
            assert all(np.array(worst) <= np.array(bounds) * (1 + 1e-6)), (worst, bounds)


def least(resilience, n, f, d):
    known = inspect.signature(resilience).parameters  # some hold in every dimension alike
    return resilience(n, f, d) if "dimension" in known else resilience(n, f)


@pytest.mark.parametrize(("n", "f"), [(4, 1), (5, 1), (6, 2), (7, 2), (7, 3), (8, 3)])
def test_mixing_is_no_worse_than_proved_and_may_be_as_bad(n, f):
    """All of S together, mixed: Σ ||y_i - x̄_S||² ≤ 4 f V; and a trimmed mean behind it."""
    generator = np.random.default_rng(n)

    def spread(rows):  # over its bound, S the first
        honest = rows[: n - f]
        off = ((mixed(rows, f)[: n - f] - honest.mean(axis=0)) ** 2).sum()
        return off / (4 * f * ((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean())

    bad = np.array([0.0] * (n - 2 * f) + [1.0] * f + [1e-9 - 1] * f)[:, None]
    assert spread(bad) == pytest.approx(1)
    exact = sharp.mixing_coefficient(n, f, sharp.trimmed_mean_coefficient(n, f))
    assert exact == pytest.approx(4 * f / (n - 2 * f))
    made = realised(lambda rows, f: trimmed_mean(mixed(rows, f), f), bad, f)[0]
    assert made == pytest.approx(exact)
    for case in range(200):
        rows = bad + 0.3 * generator.normal(size=(n, 1 + case % 3))
        assert spread(rows) <= 1 + 1e-9
        if case < 40:
            worst = realised(lambda rows, f: trimmed_mean(mixed(rows, f), f), rows, f)[0]
            assert worst <= exact * (1 + 1e-9)


@pytest.mark.parametrize("rule", [aggregators.minimum_variance_averaging, aggregators.smea])
def test_the_least_spread_may_be_as_bad_as_proved(rule):
    rows = np.array([0.0] * 3 + [1.0] * 2 + [1e-6 - 1] * 2)[:, None]
    honest = rows[:5]
    with jax.enable_x64(True):
        off = float(compiled(rule, f=2)(rows)[0]) - honest.mean()
    assert off**2 / honest.var() == pytest.approx(robustness.least_spread_coefficient(7, 2), 1e-5)


def test_by_hand():
    assert sharp.trimmed_mean_coefficient(10, 3) == pytest.approx(0.75)
    assert sharp.median_coefficient(10, 3) == pytest.approx(2.5)
    assert sharp.median_coefficient(10, 3, midpoint=True) == pytest.approx(4 / 3)
    assert sharp.median_coefficient(7, 2) == sharp.median_coefficient(7, 2, midpoint=True) == 1.5
    assert sharp.geometric_median_coefficient(10, 3) == pytest.approx(2.5)
    assert sharp.geometric_median_coefficient(7, 2) == pytest.approx(1.5)
    assert sharp.meamed_coefficient(10, 3) == pytest.approx(12 / 7 * 3.5)
    assert sharp.phocas_coefficient(10, 3) == pytest.approx(3)
    assert sharp.krum_coefficient(10, 1, neighbours=8) == pytest.approx((9 / 8 + 8**-0.5) ** 2)
    assert sharp.krum_coefficient(7, 2) == pytest.approx((3.75**0.5 + 1.5**0.5) ** 2)  # a = 2
    assert sharp.least_diameter_coefficient(10, 3) == pytest.approx(72 / 7)
    assert sharp.mixing_coefficient(10, 3, 2.5) == pytest.approx(6)
    assert sharp.trimmed_mean_resilience(7, 2, 3) == pytest.approx(0.4 * 3**0.5)
    assert sharp.trimmed_mean_resilience(7, 2, 9) == sharp.trimmed_mean_resilience(7, 2) == 0.8
    assert sharp.median_resilience(6, 1, 1) == pytest.approx(3 / 5)
    assert sharp.median_resilience(6, 1, 1, midpoint=True) == pytest.approx(1 / 2)
    assert sharp.nearest_values_resilience(7, 2, 1) == pytest.approx(0.8)
    assert sharp.krum_resilience(7, 2) == pytest.approx(1.5**0.5 + 3 / 5)  # q = 3, a = 2
    assert sharp.krum_resilience(7, 2, neighbours=4) == pytest.approx((4 / 3) ** 0.5 + 2 / 5)
    assert sharp.geometric_median_resilience(7, 2) == pytest.approx(4 / 21**0.5)


@pytest.mark.parametrize("name", robustness.COEFFICIENT_BOUNDS)
@pytest.mark.parametrize(("n", "f"), [(5, 1), (9, 3), (20, 8), (101, 40)])
def test_never_above_what_is_published_nor_below_the_floor(name, n, f):
    found = sharp.LEAST_KNOWN_COEFFICIENTS[name](n, f)
    assert robustness.coefficient_floor(n, f) <= found
    if name == "krum":  # what is published is of another number of neighbours
        found = sharp.krum_coefficient(n, f, neighbours=n - f - 1)
    assert found <= robustness.COEFFICIENT_BOUNDS[name](n, f)
    assert set(sharp.LEAST_KNOWN_COEFFICIENTS) | set(sharp.RESILIENCES) < set(
        aggregators.AGGREGATORS
    )


def test_of_a_rule_as_it_is_configured():
    both = functools.partial(aggregators.median, midpoint=True)
    assert least_coefficient_bound(aggregators.median, 10, 3) == pytest.approx(2.5)
    assert least_coefficient_bound(both, 10, 3) == pytest.approx(4 / 3)
    assert least_coefficient_bound(
        functools.partial(aggregators.meamed, midpoint=True), 10, 3
    ) == pytest.approx(12 / 7 * 7 / 3)
    mixed = aggregators.chain(nearest_neighbor_mixing, aggregators.trimmed_mean)
    assert least_coefficient_bound(mixed, 10, 3) == pytest.approx(12 / 7 * 1.75)
    assert least_coefficient_bound(mixed, 10, 3) < coefficient_bound(mixed, 10, 3)
    krum = functools.partial(aggregators.krum, neighbours=6)
    assert least_coefficient_bound(krum, 10, 3) == pytest.approx((7 / 4 + 0.75**0.5) ** 2)
    assert resilience_bound(krum, 10, 3) == pytest.approx((6 / 4) ** 0.5 + 3 / 7)
    assert resilience_bound(aggregators.trimmed_mean, 10, 3) == pytest.approx(
        (0.375 * 6 / 7) ** 0.5
    )


@pytest.mark.parametrize(
    "rule",
    [
        functools.partial(aggregators.krum, neighbours=13),
        functools.partial(aggregators.krum, squared=False),
        aggregators.geometric_median,  # of finitely many steps
        aggregators.bulyan,
        lambda updates, f: aggregators.median(updates),
    ],
)
def test_nothing_is_known(rule):
    assert least_coefficient_bound(rule, 16, 3) is resilience_bound(rule, 16, 3) is None


def test_the_rules_here_are_those_of_the_library():
    rows = np.random.default_rng(0).normal(size=(7, 3))
    with jax.enable_x64(True):
        for rule, mine in (
            (aggregators.trimmed_mean, trimmed_mean),
            (aggregators.median, median),
            (functools.partial(aggregators.median, midpoint=True), midpoint),
            (aggregators.meamed, nearest(median)),
            (aggregators.phocas, nearest(trimmed_mean)),
            (aggregators.krum, multi_krum(**FEWER)),
            (aggregators.minimum_diameter_averaging, least_diameter),
        ):
            np.testing.assert_allclose(compiled(rule, f=2)(rows), mine(rows, 2), rtol=1e-12)


@pytest.mark.parametrize(
    "bound",
    [
        sharp.trimmed_mean_coefficient,
        sharp.median_coefficient,
        sharp.geometric_median_coefficient,
        sharp.meamed_coefficient,
        sharp.phocas_coefficient,
        sharp.least_diameter_coefficient,
        sharp.trimmed_mean_resilience,
        sharp.median_resilience,
        sharp.geometric_median_resilience,
    ],
)
def test_refused(bound):
    with pytest.raises(ValueError, match=r"needs n >= 2f \+ 1, got n=6, f=3"):
        bound(6, 3)


def test_refused_numbers():
    with pytest.raises(ValueError, match="dimension must be at least 1, got 0"):
        sharp.median_resilience(7, 2, 0)
    with pytest.raises(ValueError, match="needs bound >= 0, got bound=nan"):
        sharp.mixing_coefficient(7, 2, math.nan)
    with pytest.raises(ValueError, match="needs center >= 0, got center=-1"):
        sharp.nearest_values_coefficient(7, 2, -1.0)
    with pytest.raises(ValueError, match=r"needs n >= 2f \+ 3, got n=6, f=2"):
        sharp.krum_resilience(6, 2)
    with pytest.raises(ValueError, match="needs 1 <= m <= 5, got m=6"):
        sharp.krum_resilience(7, 2, m=6)
    with pytest.raises(ValueError, match="needs 2 <= neighbours <= 4, got neighbours=5"):
        sharp.krum_coefficient(7, 2, neighbours=5)
