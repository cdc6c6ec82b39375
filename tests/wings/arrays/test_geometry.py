"""Pairwise distances against loops in double precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz._arrays import geometry
from simbyz._arrays.chunks import chunk_width
from simbyz._arrays.geometry import squared_distances
from tests.support.compiled import quick_jit


@pytest.fixture(params=["few values", "many values"])
def jitted(request, monkeypatch):
    """`squared_distances`, compiled, by both ways to a centre whatever the size."""
    if request.param == "many values":
        monkeypatch.setattr(geometry, "FEW_VALUES", 0)
    return quick_jit(lambda rows: squared_distances(rows))  # no trace of the other way is kept


def by_loops(rows):
    rows = np.asarray(rows, np.float64)
    return np.array([[np.sum((a - b) ** 2) for b in rows] for a in rows])


# At last more than one chunk of 2^17 values, and more than two.
@pytest.mark.slower
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 1), (7, 5), (7, 20_000), (7, 40_000)])
def test_against_loops_whatever_the_chunk(n, d, jitted):
    rows = np.random.default_rng(d).normal(size=(n, d)).astype(np.float32)
    got = jitted(rows)
    np.testing.assert_allclose(got, by_loops(rows), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got, np.transpose(got))
    np.testing.assert_array_equal(np.diagonal(got), 0)


def test_the_center_of_few_values_is_computed_once():
    rows = jnp.zeros((25, 64))

    def comparisons(function):
        return jax.jit(function).lower(rows).compile().as_text().count(" compare(")

    assert comparisons(squared_distances) < 2 * comparisons(geometry.middle_row)


def test_all_coordinates_at_once_where_there_is_a_gpu(monkeypatch, jitted):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    rows = np.random.default_rng(0).normal(size=(7, 40_000)).astype(np.float32)
    assert chunk_width(rows) == 40_000
    np.testing.assert_allclose(jitted(rows), by_loops(rows), rtol=1e-5, atol=1e-6)


def test_a_common_offset_costs_no_digits(jitted):
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(11, 500)) + 1e3 * rng.normal(size=500)).astype(np.float32)
    np.testing.assert_allclose(jitted(rows), by_loops(rows), rtol=2e-6)


def test_huge_rows_do_not_cost_the_others_digits(jitted):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(11, 50)).astype(np.float32) + np.float32(100)
    rows[:5] = np.array([1e30, -1e30, np.nan, np.inf, 1e10])[:, None]
    got = np.asarray(jitted(rows))
    np.testing.assert_allclose(got[5:, 5:], by_loops(rows[5:]), rtol=1e-5, atol=1e-6)
    others = got[:4].copy()
    others[np.arange(4), np.arange(4)] = np.inf
    assert np.all(np.isinf(others))
    assert not np.isnan(got).any()


def amid_at_the_sampled(rows, number, d):
    """An attacker who is in the middle wherever the centre is chosen by, and far off elsewhere."""
    rows[number] = 1e6
    sampled = slice(None, None, -(-d // geometry.SAMPLE))
    rows[number, sampled] = np.median(np.delete(rows, number, axis=0)[:, sampled], axis=0)


def keeps_digits_around(center, rows):
    return geometry._keeps_digits(*geometry._distances_around(center, rows))


@pytest.mark.slower
@pytest.mark.parametrize("n", [5, 11, 12])
def test_an_attacker_who_hides_at_some_coordinates_costs_no_digits(n, jitted):
    d = 3 * geometry.SAMPLE + 7
    rows = np.random.default_rng(n).normal(size=(n, d)).astype(np.float32)
    amid_at_the_sampled(rows, 2, d)
    row, _ = quick_jit(geometry._row_amid_the_others)(rows)
    assert row == 2
    assert not quick_jit(keeps_digits_around)(rows[2], rows)
    got = jitted(rows)
    np.testing.assert_allclose(got, by_loops(rows), rtol=1e-5)


@pytest.mark.slower
def test_each_lane_has_its_own_centre(jitted):
    d = 2 * geometry.SAMPLE
    lanes = np.random.default_rng(3).normal(size=(3, 7, d)).astype(np.float32)
    amid_at_the_sampled(lanes[1], 4, d)
    lanes[2, 5] = np.nan
    got = jax.jit(jax.vmap(jitted.__wrapped__))(lanes)
    for distances, rows in zip(got, lanes, strict=True):
        np.testing.assert_allclose(distances, jitted(rows), rtol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize(
    "attack", ["a_little_is_enough", "fall_of_empires", "nan", "zero", "mimic"]
)
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_one_centre_is_enough_under_attack(attack, offset):
    """Also for equal rows; where most rows are NaN, a second centre would not mend it."""
    key = jax.random.key(0)
    honest = jax.random.normal(key, (13, 500)) + offset * jax.random.normal(key, (1, 500))
    sent = attacks.ATTACKS[attack](key, honest, 10)
    amid, keeps_digits = quick_jit(geometry._row_amid_the_others), quick_jit(keeps_digits_around)
    for rows in (honest, np.concatenate([honest, sent]), np.concatenate([sent, honest])):
        row, hopeless = amid(rows)
        assert not hopeless
        assert keeps_digits(rows[row], rows)
    equal = jnp.ones((5, 300))
    assert keeps_digits(equal[0], equal)
    assert amid(equal.at[:3, 0].set(jnp.nan))[1]


@pytest.mark.slower
def test_rows_without_squares_are_as_far_apart_as_a_fraction_of_them(jitted) -> None:
    """1e25 has no square in float32; which rows are close does not depend on the unit."""
    rows = np.random.default_rng(2).normal(size=(11, 50)).astype(np.float32)
    # Two attackers first: where all distances are the same, the first row is chosen.
    rows[0], rows[1] = np.nan, 1e5
    got = np.asarray(jitted(np.ldexp(rows, 80)))
    honest = got[2:, 2:]
    expected = by_loops(rows[2:])
    np.testing.assert_allclose(honest / honest.max(), expected / expected.max(), rtol=1e-5)
    for rule in (aggregators.krum, aggregators.caf, aggregators.minimum_diameter_averaging):
        rule_fn = quick_jit(functools.partial(rule, f=2))
        got, expected = rule_fn(np.ldexp(rows, 80)), np.ldexp(rule_fn(rows), 80)
        np.testing.assert_allclose(got, expected, rtol=1e-4)
