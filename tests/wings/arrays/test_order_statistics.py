"""Sorting networks against NumPy's sort."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz._arrays.ranks.order_statistics import (
    MAX_NETWORK_ROWS,
    MAX_ORDERED_ROWS,
    comparators,
    fits_network,
    needed_outputs,
    sorted_rows,
)
from tests.support.compiled import quick_jit


@pytest.mark.parametrize("n", range(1, 14))
def test_a_network_sorts_every_sequence_of_zeros_and_ones(n):
    # The 0-1 principle (Knuth, volume 3, 5.3.4, theorem Z): then it sorts everything.
    columns = np.array(list(itertools.product([0, 1], repeat=n))).T.copy()
    for i, j in comparators(n):
        assert i < j
        columns[[i, j]] = np.minimum(columns[i], columns[j]), np.maximum(columns[i], columns[j])
    assert np.all(np.diff(columns, axis=0) >= 0)


def test_cutting_to_the_middle_rank_leaves_fewer_comparators():
    assert len(needed_outputs(51, [25])) < len(comparators(51))
    assert needed_outputs(51, []) == []


def through(network, columns):
    columns = columns.copy()
    for i, j, low, high in network:
        small, large = np.minimum(columns[i], columns[j]), np.maximum(columns[i], columns[j])
        # An output that is not used is spoiled.
        columns[i], columns[j] = small if low else -1, large if high else -1
    return columns


@pytest.mark.parametrize("n", range(3, 13))
def test_a_set_of_ranks_holds_its_values_in_any_order(n):
    # The 0-1 principle again: a set must hold as many ones as the sorted sequence has there.
    columns = np.array(list(itertools.product([0, 1], repeat=n))).T.copy()
    expected = np.sort(columns, axis=0)
    for f in range((n + 1) // 2):
        middle = range(f, n - f)
        alone = needed_outputs(n, middle, [middle])
        got = through(alone, columns)
        np.testing.assert_array_equal(got[f : n - f].sum(0), expected[f : n - f].sum(0))
        got = through(needed_outputs(n, range(n), [middle]), columns)
        np.testing.assert_array_equal(got[:f], expected[:f])
        np.testing.assert_array_equal(got[n - f :], expected[n - f :])
        np.testing.assert_array_equal(got[f : n - f].sum(0), expected[f : n - f].sum(0))
        assert len(alone) <= len(needed_outputs(n, middle))
    assert needed_outputs(n, range(n), [range(n)]) == []


def test_a_network_that_is_too_long_for_vectors_is_not_used():
    # On either side of 2,090 outputs.
    def outputs(n, middle):
        return sum(low + high for *_, low, high in needed_outputs(n, middle, [middle]))

    for n, middle, fits in ((120, range(59, 61), True), (128, range(32, 96), False)):
        assert fits_network(n, middle, [middle]) == fits == (outputs(n, middle) <= 2090)
    assert fits_network(MAX_ORDERED_ROWS, range(MAX_ORDERED_ROWS))
    assert not fits_network(MAX_NETWORK_ROWS + 1, [0])


def test_sets_are_sorted_in_themselves_by_few_rows_and_not_by_many():
    stack = np.random.default_rng(1).normal(size=(MAX_ORDERED_ROWS + 2, 5)).astype(np.float32)
    expected = np.sort(stack, axis=0)
    below, above = range(9, 20), range(21, 60)
    rows = np.array(sorted_rows(list(stack), sets=[below, above]))
    assert not np.array_equal(rows, expected)
    for members in (below, above):
        rows[members] = np.sort(rows[members], axis=0)
    np.testing.assert_array_equal(rows, expected)
    few = sorted_rows(list(stack[:MAX_ORDERED_ROWS]), sets=[below])
    np.testing.assert_array_equal(np.array(few), np.sort(stack[:MAX_ORDERED_ROWS], axis=0))


@pytest.mark.slower
@pytest.mark.parametrize("n", [1, 2, 7, 8, 25, 51, MAX_NETWORK_ROWS + 1])
def test_ranks_of_sorted_rows(n):
    rng = np.random.default_rng(n)
    stack = rng.normal(size=(n, 33)).astype(np.float32)
    stack[rng.random(stack.shape) < 0.05] = np.nan
    stack[rng.random(stack.shape) < 0.05] = -np.inf
    expected = np.sort(np.where(np.isnan(stack), np.inf, stack), axis=0)
    for rank in {0, n // 3, (n - 1) // 2, n - 1}:
        # One output a program: several would make XLA unroll the network for each.
        got = quick_jit(lambda stack, rank=rank: sorted_rows(stack, [rank])[rank])(stack)
        np.testing.assert_array_equal(got, expected[rank])


@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_all_rows_sorted(n):
    stack = np.random.default_rng(n).normal(size=(n, 9)).astype(np.float32)
    got = quick_jit(lambda stack: jnp.stack(sorted_rows(stack)))(stack)
    np.testing.assert_array_equal(got, np.sort(stack, axis=0))


@pytest.mark.slower
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_many_rows_of_every_dtype_and_size(dtype):
    rng = np.random.default_rng(5)
    stack = rng.normal(size=(MAX_NETWORK_ROWS + 3, 40)) * 10.0 ** rng.integers(-6, 5, size=40)
    stack[rng.random(stack.shape) < 0.1] = 0.0
    stack[rng.random(stack.shape) < 0.1] = -0.0
    stack[3], stack[9], stack[20] = np.inf, -np.inf, np.nan
    stack = jnp.asarray(stack, dtype)
    got = quick_jit(lambda stack: jnp.stack(sorted_rows(stack)))(stack)
    assert got.dtype == stack.dtype
    stack = np.asarray(stack.astype(jnp.float32))
    expected = np.sort(np.where(np.isnan(stack), np.inf, stack), axis=0)
    np.testing.assert_array_equal(got.astype(jnp.float32), expected)


def all_sorted(stack):
    return jnp.stack(sorted_rows(stack))


def moved(stack, moving):
    return jax.jvp(all_sorted, (stack,), (moving,))


@pytest.mark.slower
def test_a_tangent_moves_with_its_value_among_many():
    rng = np.random.default_rng(6)
    stack, moving = rng.normal(size=(2, MAX_NETWORK_ROWS + 1, 7)).astype(np.float32)
    values, tangents = quick_jit(moved)(stack, moving)
    np.testing.assert_array_equal(values, np.sort(stack, axis=0))
    order = np.argsort(stack, axis=0)
    np.testing.assert_array_equal(tangents, np.take_along_axis(moving, order, axis=0))


def test_a_list_of_rows_is_as_good_as_a_stack():
    stack = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(
        jnp.stack(sorted_rows(list(jnp.asarray(stack)))), jnp.stack(sorted_rows(jnp.asarray(stack)))
    )


@pytest.mark.slower
def test_a_tangent_moves_with_its_value():
    rng = np.random.default_rng(3)
    stack = rng.integers(0, 5, size=(7, 30)).astype(np.float32)  # with ties: the earlier row first
    moving, weights = rng.normal(size=(2, 7, 30)).astype(np.float32)
    order = np.argsort(stack, axis=0, kind="stable")
    values, tangents = quick_jit(moved)(stack, moving)
    np.testing.assert_array_equal(values, np.sort(stack, axis=0))
    np.testing.assert_array_equal(tangents, np.take_along_axis(moving, order, axis=0))
    gradient = quick_jit(jax.grad(lambda stack: jnp.sum(weights * all_sorted(stack))))(stack)
    np.testing.assert_array_equal(np.take_along_axis(np.asarray(gradient), order, axis=0), weights)
