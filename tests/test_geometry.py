"""Pairwise distances against loops in double precision."""

import functools

import jax
import numpy as np
import pytest

from simbyz import aggregators, geometry
from simbyz.geometry import squared_distances


def by_loops(rows):
    rows = np.asarray(rows, np.float64)
    return np.array([[np.sum((a - b) ** 2) for b in rows] for a in rows])


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 1), (7, 5), (7, 64), (7, 130)])
def test_against_loops_whatever_the_chunk(n, d, monkeypatch):
    monkeypatch.setattr(geometry, "CHUNK", 64 * n)  # one chunk, one and a bit, two and a bit
    rows = np.random.default_rng(d).normal(size=(n, d)).astype(np.float32)
    got = jax.jit(squared_distances)(rows)
    np.testing.assert_allclose(got, by_loops(rows), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got, np.transpose(got))
    np.testing.assert_array_equal(np.diagonal(got), 0)


def test_a_common_offset_costs_no_digits():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(11, 500)) + 1e3 * rng.normal(size=500)).astype(np.float32)
    np.testing.assert_allclose(jax.jit(squared_distances)(rows), by_loops(rows), rtol=2e-6)


def test_huge_rows_do_not_cost_the_others_digits():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(11, 50)).astype(np.float32) + np.float32(100)
    rows[:5] = np.array([1e30, -1e30, np.nan, np.inf, 1e10])[:, None]
    got = np.asarray(jax.jit(squared_distances)(rows))
    np.testing.assert_allclose(got[5:, 5:], by_loops(rows[5:]), rtol=1e-5, atol=1e-6)
    others = got[:4].copy()
    others[np.arange(4), np.arange(4)] = np.inf
    assert np.all(np.isinf(others))
    assert not np.isnan(got).any()


def test_rows_without_squares_are_as_far_apart_as_a_fraction_of_them() -> None:
    """1e25 has no square in float32; which rows are close does not depend on the unit."""
    rows = np.random.default_rng(2).normal(size=(11, 50)).astype(np.float32)
    # Two attackers first: where all distances are the same, the first row is chosen.
    rows[0], rows[1] = np.nan, 1e5
    got = np.asarray(jax.jit(squared_distances)(np.ldexp(rows, 80)))
    honest = got[2:, 2:]
    expected = by_loops(rows[2:])
    np.testing.assert_allclose(honest / honest.max(), expected / expected.max(), rtol=1e-5)
    for rule in (aggregators.krum, aggregators.caf, aggregators.minimum_diameter_averaging):
        np.testing.assert_allclose(
            jax.jit(functools.partial(rule, f=2))(np.ldexp(rows, 80)),
            np.ldexp(rule(rows, f=2), 80),
            rtol=1e-4,
        )
