"""What the laws of all rules do not ask of the rules of groups.py, and of the medoid."""

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
