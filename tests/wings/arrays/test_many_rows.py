"""Sums and ranks over hundreds of rows, against NumPy's sort in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz._arrays.ranks.many_rows import (
    BLOCK,
    mean_of_nearest,
    mean_of_ranks,
    sum_of,
    values_of_ranks,
)
from tests.support.compiled import compiled, compiled_gradient

N = 5 * BLOCK + 11


def awkward(dtype) -> np.ndarray:
    """Columns of numbers, ties, one value, infinities, subnormal numbers, zeros of both signs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 7))
    x[:, 1] = np.round(x[:, 1])
    x[:, 2] = 0.5
    x[:20, 3], x[20:50, 3] = np.inf, -np.inf
    x[:, 4] *= 1e-40
    x[:, 5] = np.where(x[:, 5] > 0, 0.0, -0.0)
    x[:, 6] *= 10.0 ** rng.integers(-4, 4, size=N)
    return x.astype(np.float32).astype(jnp.dtype(dtype))


@pytest.mark.slower
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_ranks_are_those_of_a_sort(dtype):
    stack = awkward(dtype)
    expected = np.sort(np.asarray(stack, np.float32), axis=0)
    ranks = (0, 1, N // 2, N - 1)
    found = compiled(values_of_ranks, ranks=ranks)(stack)
    for rank, values in zip(ranks, found, strict=True):
        assert values.dtype == dtype
        np.testing.assert_array_equal(np.asarray(values, np.float32), expected[rank])


@pytest.mark.slower
def test_ranks_in_double_precision():
    with jax.enable_x64(True):
        stack = np.random.default_rng(1).normal(size=(N, 3))
        stack[1] = np.nextafter(stack[0], 1)  # told apart by the last bit
        rank = int(np.sum(stack[:, 0] < stack[0, 0]))
        ranks = (0, rank, rank + 1, N - 1)
        found = compiled(values_of_ranks, ranks=ranks)(stack)
        np.testing.assert_array_equal(found, np.sort(stack, axis=0)[list(ranks)])
        assert found[2][0] == stack[1, 0] != found[1][0]


@pytest.mark.slower
@pytest.mark.parametrize(("first", "last"), [(0, N - 1), (50, N - 51), (60, 60), (3, 17)])
def test_mean_of_ranks(first, last):
    stack = awkward("float32")
    with np.errstate(invalid="ignore"):  # all of a column with both infinities
        expected = np.sort(np.asarray(stack, np.float64), axis=0)[first : last + 1].mean(axis=0)
    got = compiled(mean_of_ranks, first=first, last=last)(stack)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


def test_shares_of_equal_values_in_double_precision():
    """A part of those at an end counts: 7 of 30, say, which is no float32."""
    with jax.enable_x64(True):
        stack = np.round(np.random.default_rng(2).normal(size=(N, 3))) + 1 / 3
        ordered = np.sort(stack, axis=0)
        got = compiled(mean_of_ranks, first=30, last=N - 18)(stack)
        np.testing.assert_allclose(got, ordered[30 : N - 17].mean(axis=0), rtol=1e-14)
        center = np.full(3, 0.4)
        order = np.argsort(np.abs(ordered - center), axis=0, kind="stable")[: N - 30]
        nearest = np.take_along_axis(ordered, order, axis=0).mean(axis=0)
        got = compiled(mean_of_nearest, count=N - 30)(stack, center)
        np.testing.assert_allclose(got, nearest, rtol=1e-14)


@pytest.mark.slower
def test_what_is_not_among_the_ranks_does_not_move_their_mean():
    of_mean = compiled_gradient(mean_of_ranks, first=10, last=N - 11)
    slopes = of_mean(awkward("float32")[:, :1])
    assert (np.unique(slopes) == np.float32([0, 1 / (N - 20)])).all()
    assert (slopes == 0).sum() == 20


def test_sums():
    stack = awkward("float32")[:, [0, 1, 6]]
    total = compiled(lambda stack: sum_of(jnp.square, stack))(stack)
    np.testing.assert_allclose(total, np.square(np.float64(stack)).sum(axis=0), rtol=1e-6)
