"""What the laws of all rules do not ask of rules of groups, the medoid, and bounds given."""

import functools

import jax
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.aggregators import selection_of
from tests.reference import further_rules as reference
from tests.support.rules import D, F, N, gaussian_rows

KEY = jax.random.key(3)


@pytest.mark.parametrize(("options", "n", "f"), [({"groups": 7, "key": KEY}, N, F), ({}, 3, 1)])
def test_groups_in_any_order(options: dict, n: int, f: int) -> None:
    with jax.enable_x64(True):
        rows = gaussian_rows(1, n).astype(np.float64)
        order = jax.random.permutation(KEY, n).tolist() if "key" in options else None
        expected = reference.median_of_means(rows, f, options.get("groups"), order)
        got = aggregators.median_of_means(rows, f, **options)
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_groups_weigh_what_their_rule_says() -> None:
    rows = gaussian_rows(2)
    rule = functools.partial(
        aggregators.median_of_means, key=KEY, groups=6, rule=aggregators.geometric_median
    )
    weights = selection_of(rule)(rows, F)
    assert np.sum(weights) == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(weights @ rows, rule(rows, F), rtol=1e-5, atol=1e-6)
    one_each = functools.partial(aggregators.median_of_means, groups=N)
    np.testing.assert_array_equal(one_each(rows, F), aggregators.median(rows, F))


@pytest.mark.parametrize("groups", [2 * F, N + 1])
def test_groups_out_of_range_are_refused(groups: int) -> None:
    with pytest.raises(ValueError, match=f"2f . 1 <= groups <= n, got groups={groups}"):
        aggregators.median_of_means(gaussian_rows(0), F, groups=groups)


def test_the_medoid_is_the_row_that_most_hold() -> None:
    rows = gaussian_rows(4)
    rows[4:] = rows[4]
    rows[0], rows[1] = np.nan, 1e30
    np.testing.assert_array_equal(aggregators.medoid(rows, F), rows[4])
    np.testing.assert_array_equal(aggregators.medoid_selection(rows, F), np.eye(N)[4])
    assert aggregators.medoid(rows[:1, :], 0).shape == (D,)


GIVEN = [
    ("huber_center", {"radius": 0.7, "iterations": 6}),
    ("norm_bounded_mean", {"radius": 0.7}),
    ("filter_l2", {"deviation": 1.2}),
    ("filter_l2", {"deviation": 9.0}),
]


@pytest.mark.parametrize("threshold", [0, 3, 5.0, 100])
def test_coordinates_are_turned_where_too_few_agree(threshold: int | float) -> None:
    rows = gaussian_rows(8).astype(np.float64) + np.array([0.2, -3.0, 0.5])
    rows[0], rows[1, 0] = np.nan, -np.inf
    with jax.enable_x64(True):
        got = aggregators.robust_learning_rate(rows, F, threshold=threshold)
    expected = reference.robust_learning_rate(rows, F, threshold)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    turned = np.sign(got) != np.sign(rows[2:].mean(axis=0))
    assert np.all(turned) if threshold == 100 else not turned[1]
    weights = aggregators.robust_learning_rate_selection(rows, F)
    np.testing.assert_allclose(weights, [0, 0] + [0.1] * 10, rtol=1e-6)


@pytest.mark.parametrize(("name", "options"), GIVEN)
def test_bounds_that_are_given(name: str, options: dict) -> None:
    rule = functools.partial(getattr(aggregators, name), f=F)
    counts = {key: value for key, value in options.items() if key == "iterations"}
    with jax.enable_x64(True):
        run = jax.jit(lambda rows, bounds: rule(rows, **{**bounds, **counts}))
        for bad in (0.5, np.nan, 30.0):
            rows = gaussian_rows(6).astype(np.float64)
            rows[:F] = bad
            for scale in (1.0, 2.0**-300):  # the bounds have the scale of the rows
                bounds = {key: scale * value for key, value in options.items() if key not in counts}
                expected = getattr(reference, name)(rows, F, **options)
                np.testing.assert_allclose(
                    np.asarray(run(scale * rows, bounds)) / scale, expected, rtol=1e-9, atol=1e-12
                )


@pytest.mark.parametrize("name", ["huber_center", "norm_bounded_mean", "filter_l2"])
def test_weights_are_the_rule(name: str) -> None:
    rows = gaussian_rows(7)
    rows[:F] = np.inf
    weights = getattr(aggregators, f"{name}_selection")(rows, F)
    assert np.sum(weights) == pytest.approx(1, rel=1e-6) and not np.any(weights[:F])
    if name != "norm_bounded_mean":
        np.testing.assert_allclose(
            weights[F:] @ rows[F:], getattr(aggregators, name)(rows, F), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize(("name", "options"), GIVEN[1:3])
def test_bounds_below_zero_are_refused(name: str, options: dict) -> None:
    (bound,) = options
    with pytest.raises(ValueError, match=f"{name} needs {bound} >= 0, got {bound}=-1"):
        getattr(aggregators, name)(gaussian_rows(0), F, **{bound: -1.0})
