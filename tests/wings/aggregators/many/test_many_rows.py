"""The rules by coordinate where rows are many: some ranks are left unsorted, or a sort is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz._arrays.ranks import pieces
from simbyz._arrays.ranks.many_rows import mean_of_nearest
from simbyz._arrays.ranks.order_statistics import MAX_NETWORK_ROWS, MAX_ORDERED_ROWS
from tests.reference import rules as reference
from tests.support.compiled import quick_jit

RULES = [
    ("median", {}),
    ("median", {"midpoint": True}),
    ("trimmed_mean", {}),
    ("phocas", {}),
    ("meamed", {}),
    ("meamed", {"midpoint": True}),
]


# Three coordinates are taken whole, eleven in pieces, of which the last two overlap.
@pytest.mark.slower
@pytest.mark.parametrize(
    ("n", "d"),
    # Of more rows than a network takes, test_references.py has some that are taken whole.
    [
        (MAX_ORDERED_ROWS + 1, 11),
        (MAX_ORDERED_ROWS + 2, 3),
        (MAX_NETWORK_ROWS, 11),
        (MAX_NETWORK_ROWS + 2, 11),
    ],
)
@pytest.mark.parametrize(("name", "options"), RULES)
def test_against_loops(n, d, name, options, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 4)
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, d)).astype(np.float32)
    f = n // 5
    rows[:f, :3] = np.array([np.nan, np.inf, -1e30], np.float32)
    rule = quick_jit(lambda rows: getattr(aggregators, name)(rows, f, **options))
    expected = getattr(reference, name)(rows.astype(float), f, **options)
    np.testing.assert_allclose(rule(rows), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize(("name", "options"), RULES)
def test_pieces_have_the_derivatives_and_lanes_of_the_whole(name, options, monkeypatch):
    # What compiles for half a minute at 65 rows is the same program at 9.
    monkeypatch.setattr(pieces, "MAX_ORDERED_ROWS", 8)
    n, d = 9, 11
    stacks = np.random.default_rng(0).normal(size=(2, n, d)).astype(np.float32)

    def summed(rows):
        return jnp.sum(jnp.sin(getattr(aggregators, name)(rows, n // 5, **options)))

    found = []
    for piece in (d, 4):
        monkeypatch.setattr(pieces, "PIECE", piece)
        found.append(jax.jit(jax.vmap(jax.value_and_grad(summed)))(stacks))
    for whole, in_pieces in zip(*found, strict=True):
        np.testing.assert_allclose(in_pieces, whole, rtol=1e-5, atol=1e-7)
    assert np.any(found[0][1])


# With a network, and, of 118 or 130 vectors, without.
@pytest.mark.slower
@pytest.mark.parametrize("variant", ["published", "released"])
@pytest.mark.parametrize(("n", "f"), [(70, 5), (124, 3), (150, 10)])
def test_bulyan_of_as_many_vectors(n, f, variant):
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, 30)).astype(np.float32)
    rows[:f, :3] = np.array([np.nan, np.inf, -1e30], np.float32)
    rule = quick_jit(lambda rows: aggregators.bulyan(rows, f, variant=variant))
    expected = reference.bulyan(rows.astype(float), f, variant=variant)
    np.testing.assert_allclose(rule(rows), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_nearest_values_of_which_many_are_equally_far(dtype):
    """Small whole numbers around a centre: ties inside, at the end, and on both sides of it."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-30, 31, size=(70, 40)).astype(dtype)
    center = rng.integers(-9, 10, size=40).astype(dtype)
    found = quick_jit(mean_of_nearest, static_argnums=2)
    for count in (1, 40):
        expected = [
            np.mean(sorted(column, key=lambda value: (abs(value - c), value > c))[:count])
            for column, c in zip(rows.T.astype(float), center.astype(float), strict=True)
        ]
        np.testing.assert_allclose(found(rows, center, count), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slower
def test_nearest_values_that_are_infinitely_far_are_told():
    rows = np.ones((70, 2), np.float32)
    rows[:30] = np.inf, -np.inf
    center = np.zeros(2, np.float32)
    for count, expected in ((40, 1.0), (41, np.nan)):
        found = quick_jit(mean_of_nearest, static_argnums=2)(rows, center, count)
        np.testing.assert_array_equal(found, [expected, expected])


@pytest.mark.slower
def test_the_mean_of_nearest_values_moves_with_these_alone():
    rows = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    moves = quick_jit(jax.jacobian(lambda rows: mean_of_nearest(rows, rows[0], 20)))(rows)
    order = np.argsort(np.abs(rows - rows[0]), axis=0)[:20]
    expected = np.zeros((3, 70, 3))
    for column in range(3):
        expected[column, order[:, column], column] = 1 / 20
    np.testing.assert_allclose(moves, expected, atol=1e-7)
