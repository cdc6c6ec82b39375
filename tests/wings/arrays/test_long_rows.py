"""The largest of long rows, against NumPy's stable sort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz._arrays.ranks.long_rows import kth_largest, only_largest
from tests.support.compiled import quick_jit

D = 1000


def awkward(dtype="float32") -> np.ndarray:
    """Rows of numbers, ties, one value, mostly zeros, subnormal numbers, infinities and NaN."""
    rng = np.random.default_rng(0)
    sizes = np.abs(rng.standard_cauchy(size=(7, D)))
    sizes[1] = np.round(4 * rng.random(D))
    sizes[2] = 0.5
    sizes[3] *= rng.random(D) < 0.01
    sizes[4] *= 1e-40
    sizes[5, ::7], sizes[5, ::50] = np.inf, np.nan
    sizes[6] = 2.0 ** rng.integers(-14, 15, D)
    return sizes.astype(np.float32).astype(jnp.dtype(dtype))


def expected(sizes, k):
    """The first of equal ones, NaN before all; and the k-th."""
    rows = np.asarray(sizes, np.float64)
    order = np.argsort(-np.where(np.isnan(rows), np.inf, rows) - 0.0, axis=1, kind="stable")
    for row, places in zip(rows, order, strict=True):
        infinite = np.isinf(row[places])
        places[:] = np.r_[
            places[np.isnan(row[places])], places[infinite], places[np.isfinite(row[places])]
        ]
    chosen = np.zeros(rows.shape, bool)
    np.put_along_axis(chosen, order[:, :k], True, axis=1)
    return chosen, np.take_along_axis(rows, order[:, k - 1 : k], axis=1)[:, 0]


def both(k):
    return quick_jit(lambda sizes: (only_largest(sizes, k), kth_largest(sizes, k)))


@pytest.mark.parametrize("k", [1, 10, 500, D])
def test_they_are_those_of_a_sort(k):
    sizes = awkward()
    chosen, kth = expected(sizes, k)
    got = both(k)(sizes)
    np.testing.assert_array_equal(got[0], np.where(chosen, sizes, 0))
    np.testing.assert_array_equal(np.asarray(got[1], np.float64), kth)


@pytest.mark.slower
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats(dtype):
    sizes = awkward(dtype)
    chosen, kth = expected(sizes, 37)
    got, found = both(37)(sizes)
    assert (got.dtype, found.dtype) == (dtype, dtype)
    np.testing.assert_array_equal(np.float32(found), kth)
    np.testing.assert_array_equal(np.float32(got), np.where(chosen, np.float32(sizes), 0))


@pytest.mark.slower
def test_double_precision_tells_the_last_bit_apart():
    with jax.enable_x64(True):
        sizes = np.abs(np.random.default_rng(1).normal(size=(2, D)))
        sizes[:, 1] = np.nextafter(sizes[:, 0], 9)
        for k in (1, 20, int(np.sum(sizes[0] > sizes[0, 0]))):
            chosen, kth = expected(sizes, k)
            got, found = both(k)(sizes)
            np.testing.assert_array_equal(got, np.where(chosen, sizes, 0))
            np.testing.assert_array_equal(found, kth)


@pytest.mark.slower
def test_lanes_and_derivatives():
    sizes = awkward()[:2].reshape(2, 4, D // 4)
    got = quick_jit(jax.vmap(lambda rows: only_largest(rows, 9)))(sizes)
    wanted = np.stack([np.where(expected(rows, 9)[0], rows, 0) for rows in sizes])
    np.testing.assert_array_equal(got, wanted)
    rows = np.array([[3.0, -1.0, -4.0, 2.0]], np.float32)

    def summed(rows):
        largest = only_largest(rows, 2)
        return jnp.sum(largest), largest

    slopes, largest = quick_jit(jax.grad(summed, has_aux=True))(rows)
    np.testing.assert_array_equal(largest, [[3, 0, -4, 0]])
    np.testing.assert_array_equal(slopes, [[1, 0, 1, 0]])
