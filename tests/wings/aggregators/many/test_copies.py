"""The trimmed mean of rows and many copies of one more, beside a sort of them all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.aggregators.coordinate import trimmed_mean_with_copies

COPIES = (0, 1, 3, 9)


def by_sorting(rows, row, copies, f):
    joined = np.sort([*rows, *[row] * copies], axis=0)
    return joined[f : len(joined) - f].mean(axis=0)


@pytest.mark.slower
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_as_a_sort_of_all(n):
    # Few whole numbers: ties in most coordinates, and exact sums.
    rng = np.random.default_rng(n)
    rows = rng.integers(-4, 5, (n, 300)).astype(np.float32)
    row = rng.integers(-6, 7, 300).astype(np.float32)
    for f in range((n + 1) // 2):
        for copies in COPIES:
            got = jax.jit(trimmed_mean_with_copies, static_argnums=(2, 3))(rows, row, copies, f)
            np.testing.assert_allclose(got, by_sorting(rows, row, copies, f), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e38])
def test_bad_rows_are_cut_off(bad):
    rows = np.random.default_rng(0).normal(size=(9, 50)).astype(np.float32)
    rows[[2, 5]] = bad
    for copies in COPIES:
        got = trimmed_mean_with_copies(jnp.asarray(rows), jnp.asarray(rows[0]), copies, 2)
        finite = np.where(np.isnan(rows), np.inf, rows)
        np.testing.assert_allclose(got, by_sorting(finite, rows[0], copies, 2), rtol=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("n", [70, 124])  # the second without a network
def test_more_rows_than_are_sorted_in_full(n):
    rows = np.random.default_rng(0).normal(size=(n, 40)).astype(np.float32)
    rows[:2, :2] = np.array([[np.nan], [-np.inf]], np.float32)
    got = trimmed_mean_with_copies(jnp.asarray(rows), jnp.asarray(rows[3]), 35, 20)
    finite = np.where(np.isnan(rows), np.inf, rows)
    np.testing.assert_allclose(got, by_sorting(finite, rows[3], 35, 20), rtol=1e-5, atol=1e-7)
