"""Sorting networks against NumPy's sort."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.order_statistics import MAX_NETWORK_ROWS, comparators, needed_outputs, sorted_rows


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


@pytest.mark.parametrize("n", [1, 2, 7, 8, 25, 51, MAX_NETWORK_ROWS + 1])
def test_ranks_of_sorted_rows(n):
    rng = np.random.default_rng(n)
    stack = rng.normal(size=(n, 33)).astype(np.float32)
    stack[rng.random(stack.shape) < 0.05] = np.nan
    stack[rng.random(stack.shape) < 0.05] = -np.inf
    expected = np.sort(np.where(np.isnan(stack), np.inf, stack), axis=0)
    for rank in {0, n // 3, (n - 1) // 2, n - 1}:
        # One output a program: several would make XLA unroll the network for each.
        got = jax.jit(lambda stack, rank=rank: sorted_rows(stack, [rank])[rank])(stack)
        np.testing.assert_array_equal(got, expected[rank])


@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_all_rows_sorted(n):
    stack = np.random.default_rng(n).normal(size=(n, 9)).astype(np.float32)
    got = jax.jit(lambda stack: jnp.stack(sorted_rows(stack)))(stack)
    np.testing.assert_array_equal(got, np.sort(stack, axis=0))


def test_a_list_of_rows_is_as_good_as_a_stack():
    stack = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(
        jnp.stack(sorted_rows(list(jnp.asarray(stack)))), jnp.stack(sorted_rows(jnp.asarray(stack)))
    )


def test_a_tangent_moves_with_its_value():
    rng = np.random.default_rng(3)
    stack = rng.integers(0, 5, size=(7, 30)).astype(np.float32)  # with ties: the earlier row first
    moving, weights = rng.normal(size=(2, 7, 30)).astype(np.float32)
    order = np.argsort(stack, axis=0, kind="stable")

    def all_sorted(stack):
        return jnp.stack(sorted_rows(stack))

    values, tangents = jax.jvp(all_sorted, (stack,), (moving,))
    np.testing.assert_array_equal(values, np.sort(stack, axis=0))
    np.testing.assert_array_equal(tangents, np.take_along_axis(moving, order, axis=0))
    gradient = jax.grad(lambda stack: jnp.sum(weights * all_sorted(stack)))(stack)
    np.testing.assert_array_equal(np.take_along_axis(np.asarray(gradient), order, axis=0), weights)
