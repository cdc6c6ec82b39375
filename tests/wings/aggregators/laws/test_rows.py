"""Laws of the rows: what every rule makes of moved, shuffled, equal and bad ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simbyz import aggregators
from tests.support.compiled import compiled
from tests.support.rules import (
    D,
    F,
    N,
    Rule,
    assert_close,
    every_rule_with,
    few_examples,
    gaussian_rows,
    seeds,
)


@every_rule_with("order")
@few_examples
@given(seed=seeds)
def test_order_of_workers_does_not_matter(rule: Rule, seed: int) -> None:
    # From f = 3 on, every choice of the published Bulyan is by two neighbours or more; two clusters
    # of an odd number of rows are never equal.
    n, f = (N, F) if rule.orderless else (15, 3)
    rows = gaussian_rows(seed, n)
    shuffled = np.random.default_rng(seed + 1).permutation(rows)
    assert_close(rule.compiled(f)(shuffled), rule.compiled(f)(rows))


@pytest.mark.slower
@every_rule_with("translation")
@few_examples
@given(seed=seeds, scale=st.sampled_from([0.125, 1.0, 8.0]))
def test_translation_moves_the_aggregate_along(rule: Rule, seed: int, scale: float) -> None:
    rows = gaussian_rows(seed)
    shift = scale * gaussian_rows(seed + 1, 1)
    assert_close(rule.compiled()(rows + shift), rule.compiled()(rows) + shift[0], 1e-4)


@pytest.mark.slower
@every_rule_with("scaling")
@few_examples
@given(seed=seeds, scale=st.sampled_from([2.0**-20, 0.5, 2.0**20]))
def test_positive_scaling_scales_the_aggregate(rule: Rule, seed: int, scale: float) -> None:
    # By powers of two, which round nothing.
    rows = gaussian_rows(seed)
    assert_close(rule.compiled()(scale * rows) / scale, rule.compiled()(rows))


@every_rule_with("agreement")
@few_examples
@given(value=st.floats(min_value=-1e6, max_value=1e6, width=32))
def test_equal_rows_are_their_own_aggregate(rule: Rule, value: float) -> None:
    row = np.float32(value) * np.array([1, -2, 0.5], dtype=np.float32)
    result = rule.compiled()(np.broadcast_to(row, (N, D)))
    np.testing.assert_allclose(result, row, rtol=1e-6, atol=1e-30)


def assert_among(result: np.ndarray, honest: np.ndarray) -> None:
    """In every coordinate between the honest values, up to rounding; NaN is not."""
    assert np.all(honest.min(axis=0) - 1e-6 <= result)
    assert np.all(result <= honest.max(axis=0) + 1e-6)


BAD = (np.nan, np.inf, -np.inf, 1e30, -1e30)
bad_values = st.sampled_from(BAD)


@every_rule_with("robustness")
@few_examples
@given(
    seed=seeds,
    bad=st.lists(st.lists(bad_values, min_size=D, max_size=D), min_size=F, max_size=F),
    places=st.permutations(range(N)),
)
def test_f_bad_rows_do_not_move_the_aggregate_away(
    rule: Rule, seed: int, bad: list[list[float]], places: list[int]
) -> None:
    rows = gaussian_rows(seed)
    rows[places[:F]] = bad
    honest = rows[places[F:]]
    assert_among(np.asarray(rule.compiled()(rows)), honest)


@every_rule_with("robustness")
def test_f_rows_of_one_bad_value_do_not_move_the_aggregate_away(rule: Rule) -> None:
    honest = gaussian_rows(0)[F:]
    for value in BAD:
        rows = np.concatenate([np.full((F, D), value, dtype=np.float32), honest])
        result = np.asarray(rule.compiled()(rows))
        assert_among(result, honest)


def test_one_bad_row_carries_the_average_away() -> None:
    """The laws above tell rules apart: the one that is robust to nothing does not keep them."""
    for value in BAD:
        rows = gaussian_rows(0)
        rows[3] = value
        assert not np.any(np.abs(compiled(aggregators.average, f=F)(rows)) < 1e3)
