"""The subset of rows with the smallest sum of pairwise distances, by trying all of them.

The rows are cut into two halves. The sum over a subset is the sum within what it holds of the first
half, plus that within what it holds of the second, plus the distances across. With one row of a
matrix for each choice from a half, the sums are entries of a matrix product, at n / 2
multiplications a subset: 0.5 · 10^9 for all 30,045,015 ways to keep 20 rows of 30.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.chunks import first_carry
from simbyz._arrays.geometry import full_product

# Sums computed at once: choices from the first half × choices from the second.
TILE = (128, 512)


def first_subset_of_smallest_sum(distances: jax.Array, size: int) -> jax.Array:
    """The `size` rows whose distances to each other have the smallest sum.

    Args:
      distances: (n, n), symmetric, zero on the diagonal, such that the sum of all is finite.
      size: rows wanted, from 1 to n.

    Returns:
      (n,) booleans. Of subsets with equal sums, the first in lexicographic order.
    """
    n = len(distances)
    half = n // 2
    first, second = _choices(half, n - size), _choices(n - half, n - size)
    height, width = min(TILE[0], len(first)), min(TILE[1], len(second))
    tiles = _tiles(np.sum(first, axis=1), np.sum(second, axis=1), size, height, width)
    # The barrier keeps XLA from computing with these constants while it compiles.
    first, second, tiles = jax.lax.optimization_barrier((first, second, tiles))

    def choices(tile: jax.Array) -> tuple[jax.Array, jax.Array]:
        a = jax.lax.dynamic_slice_in_dim(first, tile[0], height)
        b = jax.lax.dynamic_slice_in_dim(second, tile[1], width)
        return a, b

    def sums(tile: jax.Array) -> jax.Array:
        """(height, width); inf for a pair of choices that does not hold the tile's numbers."""
        a, b = (choice.astype(distances.dtype) for choice in choices(tile))
        within_a = jnp.sum(full_product(a, distances[:half, :half]) * a, axis=1) / 2
        within_b = jnp.sum(full_product(b, distances[half:, half:]) * b, axis=1) / 2
        within_a = jnp.where(jnp.sum(a, axis=1) == tile[2], within_a, jnp.inf)
        within_b = jnp.where(jnp.sum(b, axis=1) == size - tile[2], within_b, jnp.inf)
        across = full_product(full_product(a, distances[:half, half:]), b.T)
        return across + within_a[:, None] + within_b[None, :]

    smallest = jax.lax.map(lambda tile: jnp.min(sums(tile)), tiles)
    smallest_of_all = jnp.min(smallest)

    def is_left(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        ties, _ = state
        return jnp.any(ties)

    def look_into_next(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        ties, best = state
        place = jnp.argmax(ties)
        a, b = choices(tiles[place])
        # In a tile, the first minimum is the first in lexicographic order.
        where = jnp.argmin(sums(tiles[place]).ravel())
        found = jnp.concatenate([a[where // width], b[where % width]])
        # Of two subsets, the one that holds the first row in which they differ comes first.
        comes_first = found[jnp.argmax(found != best)]
        return ties.at[place].set(False), jnp.where(comes_first, found, best)

    start = (smallest == smallest_of_all, jnp.zeros(n, dtype=bool))
    return jax.lax.while_loop(is_left, look_into_next, first_carry(start, distances))[1]


def _choices(num_rows: int, most_left_out: int) -> np.ndarray:
    """All ways to leave out at most so many of the rows, (number of ways, num_rows) booleans.

    Sorted by how many rows are left out, and those that leave out equally many lexicographically.
    """
    blocks = []
    for left_out in range(min(most_left_out, num_rows) + 1):
        # Who leaves out later rows comes first.
        ways = list(itertools.combinations(range(num_rows), left_out))[::-1]
        block = np.ones((len(ways), num_rows), dtype=bool)
        np.put_along_axis(block, np.array(ways, dtype=int).reshape(len(ways), left_out), False, 1)
        blocks.append(block)
    return np.concatenate(blocks)


def _tiles(
    first_sizes: np.ndarray, second_sizes: np.ndarray, size: int, height: int, width: int
) -> np.ndarray:
    """Where each tile starts, (start in first, start in second, rows from the first half).

    The last tile of a block is moved back to stay inside the array.
    """
    tiles = []
    for kept in np.unique(first_sizes):
        rows = np.flatnonzero(first_sizes == kept)
        columns = np.flatnonzero(second_sizes == size - kept)
        if len(columns):
            for i in range(rows[0], rows[-1] + 1, height):
                for j in range(columns[0], columns[-1] + 1, width):
                    top = min(i, len(first_sizes) - height)
                    tiles.append((top, min(j, len(second_sizes) - width), kept))
    return np.array(tiles, dtype=np.int32)
