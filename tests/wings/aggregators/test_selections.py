"""Each row's weight: they sum to one, and are the rule where it is a weighted mean."""

import jax
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.aggregators import AGGREGATORS, SELECTIONS
from tests.support.compiled import compiled, compiled_gradient
from tests.support.rules import D, F, N

ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)

# The rules that look at coordinates or at distances; the others are tested with their rules.
NAMES = "average median trimmed_mean phocas meamed krum multi_krum bulyan".split()
CASES = {name: (AGGREGATORS[name], SELECTIONS[name], {}) for name in NAMES} | {
    f"{name} {options}": (AGGREGATORS[name], SELECTIONS[name], options)
    for name, options in (
        ("median", {"midpoint": True}),
        ("meamed", {"midpoint": True}),
        ("multi_krum", {"m": 3, "squared": False}),
        ("bulyan", {"variant": "released"}),
    )
}


@pytest.mark.slower
@pytest.mark.parametrize("case", CASES)
def test_one_coordinate_s_weights_give_the_aggregate(case):
    """With one coordinate every rule here is a weighted mean of the rows."""
    rule, selection, options = CASES[case]
    for seed in range(5):
        rows = np.random.default_rng(seed).normal(size=(N, 1)).astype(np.float32)
        weights = compiled(selection, f=F, **options)(rows)
        assert weights.shape == (N,)
        assert np.sum(weights) == pytest.approx(1, rel=1e-6)
        assert np.all(weights >= 0)
        expected = compiled(rule, f=F, **options)(rows)
        assert weights @ rows == pytest.approx(np.asarray(expected), rel=1e-5, abs=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize("case", CASES)
def test_weights_are_the_gradient_summed_over_coordinates(case):
    """The mean of the aggregate's coordinates grows by row i's weight when row i grows by one."""
    rule, selection, options = CASES[case]
    weights = compiled(selection, f=F, **options)(ROWS)
    gradient = compiled_gradient(rule, f=F, **options)(ROWS)
    np.testing.assert_allclose(weights, gradient.sum(axis=1) / D, atol=1e-6)


@pytest.mark.parametrize("name", NAMES[1:])
def test_rows_that_are_not_finite_have_no_weight(name):
    rows = ROWS.copy()
    rows[3], rows[7] = np.nan, np.inf
    weights = compiled(SELECTIONS[name], f=F)(rows)
    np.testing.assert_array_equal(np.asarray(weights)[[3, 7]], 0)
    assert np.sum(weights) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_selection_refuses_what_its_rule_refuses(name):
    few = ROWS[: 2 * F]
    with pytest.raises(ValueError, match="needs n >= "):
        SELECTIONS[name](few, F)
    with pytest.raises(ValueError, match="needs n >= "):
        aggregators.AGGREGATORS[name](few, F)


def test_equal_values_share_a_coordinate():
    rows = np.array([[0.0], [1.0], [1.0], [1.0], [2.0]], np.float32)
    weights = aggregators.median_selection(rows, 2)
    np.testing.assert_allclose(weights, [0, 1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)


def test_weights_of_rows_in_double_precision_are_no_less_precise():
    rows = np.array([[0.0], [1.0], [1.0], [1.0], [2.0]])
    with jax.enable_x64(True):
        weights = aggregators.median_selection(rows, 2)
    np.testing.assert_allclose(weights, [0, 1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-15)
