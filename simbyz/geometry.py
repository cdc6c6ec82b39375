"""Pairwise distances between workers."""

import jax
import jax.numpy as jnp

from simbyz.order_statistics import sorted_rows


def squared_distances(stack: jax.Array) -> jax.Array:
    """||x_i - x_j||² between the rows of an (n, d) stack, through one n × n × d matrix product.

    ||x_i - x_j||² = G_ii + G_jj - 2 G_ij loses the digits that the rows share, so the Gram matrix G
    is taken after subtracting a centre. The centre is the coordinate-wise median: a mean could be
    dragged away by a single huge row, and the honest rows' digits would be lost again.

    Args:
      stack: (n, d), with fewer than n / 2 rows that hold non-finite values.

    Returns:
      (n, n), at least float32, symmetric, zero on the diagonal; a distance that is not finite is
      +inf.
    """
    n = len(stack)
    gram = _centered_gram(stack)
    norms = jnp.diagonal(gram)
    squares = norms[:, None] + norms[None, :] - 2 * gram
    squares = jnp.where(jnp.isfinite(squares), jnp.maximum(squares, 0), jnp.inf)
    return jnp.where(jnp.eye(n, dtype=bool), 0, squares)


# Coordinates handled at once: 51 rows of them fit a core's second-level cache.
CHUNK = 8192


def _centered_gram(stack: jax.Array) -> jax.Array:
    """The Gram matrix of the rows minus their coordinate-wise median, chunk of coordinates by
    chunk.

    Reads the stack from memory once. Each turn of the loop also finds the median of the next chunk
    and
    carries it over: a loop's carry is an array, where XLA would otherwise fuse the median's whole
    sorting network into the subtraction and run it again for each of the n rows.
    """
    n, d = stack.shape
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    size = max(1, min(CHUNK, d))
    turns = -(-d // size)
    middle = (n - 1) // 2

    def chunk(turn: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = jnp.clip(turn * size, 0, d - size)
        return start, jax.lax.dynamic_slice_in_dim(stack, start, size, axis=1)

    def turn(turn: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        gram, center = carry
        start, rows = chunk(turn - 1)
        # The last chunk is moved back to stay inside: its first coordinates were counted before.
        # The first turn has no center yet and counts nothing.
        new = (start + jnp.arange(size) >= (turn - 1) * size) & (turn > 0)
        centered = jnp.where(new[None], rows.astype(dtype) - center[None], 0)
        # HIGHEST: the default would let a GPU round the factors to TF32, 10 bits.
        product = jnp.matmul(centered, centered.T, precision=jax.lax.Precision.HIGHEST)
        return gram + product, sorted_rows(chunk(turn)[1], [middle])[middle].astype(dtype)

    gram, _ = jax.lax.fori_loop(
        0, turns + 1, turn, (jnp.zeros((n, n), dtype), jnp.zeros(size, dtype))
    )
    return gram
