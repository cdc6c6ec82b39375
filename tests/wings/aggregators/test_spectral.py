"""The rules of spectral.py where it is hard: rows that nothing tells apart, or none in common."""

import functools

import jax
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.aggregators.spectral import draw_coordinates
from tests.reference import center_filters as slow
from tests.support.compiled import compiled

pytestmark = pytest.mark.slower

KEY = jax.random.key(0)


def gaussian_rows(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_caf_ends_where_attackers_are_identical() -> None:
    """Once only equal rows have weight no direction is left; ByzFL goes on for ever."""
    n, f = 11, 5
    honest = gaussian_rows(0, n, 3)
    selection = compiled(aggregators.caf_selection, f=f)
    for rows in (np.ones((n, 3)), np.zeros((n, 3)), np.concatenate([honest[:4], np.ones((7, 3))])):
        weights = np.asarray(selection(rows.astype(np.float32)))
        assert np.sum(weights) == pytest.approx(1, rel=1e-6)
    rows = np.concatenate([honest[:6], np.full((5, 3), 100.0)]).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(selection(rows))[6:], 0)
    assert np.all(np.abs(compiled(aggregators.caf, f=f)(rows)) < 5)


def test_drawn_coordinates_are_distinct_and_equally_likely() -> None:
    draw = jax.jit(jax.vmap(functools.partial(draw_coordinates, d=10, sample=4)))
    draws = np.sort(np.asarray(draw(jax.random.split(KEY, 4000))), axis=1)
    assert np.all(np.diff(draws, axis=1) > 0)
    assert draws.min() == 0 and draws.max() == 9
    counts = np.bincount(draws.ravel(), minlength=10)
    # Each is among the four with probability 0.4: a deviation of 31.
    assert np.all(np.abs(counts - 1600) < 5 * 31)


def test_dnc_of_iterations_that_keep_nobody_in_common() -> None:
    """Each keeps n - c f = 1 row, by two of the coordinates: those kept most often are averaged."""
    never_common = 0
    with jax.enable_x64(True):
        rule = compiled(aggregators.dnc, f=2, c=2.0, key=KEY, sample=2)
        draws = [np.asarray(draw_coordinates(key, 6, 2)) for key in jax.random.split(KEY, 5)]
        for seed in range(10):
            rows = gaussian_rows(seed, 5, 6)
            expected = slow.dnc(rows, 2, draws, c=2.0)
            np.testing.assert_allclose(rule(rows), expected, rtol=1e-9)
            alone = [slow.dnc(rows, 2, [coordinates], c=2.0) for coordinates in draws]
            never_common += not all(np.array_equal(row, alone[0]) for row in alone)
    assert never_common > 0
