"""Distances of a row that moves along a line, from those of two places on it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from simbyz._arrays.geometry import squared_distances


def distances_along(
    honest: jax.Array, begin: jax.Array, end: jax.Array, num_byzantine: int
) -> Callable[[jax.Array], jax.Array]:
    """t -> the squared distances (n, n) between the honest rows (h, d) and, after them, as many
    rows begin + t · (end - begin) as there are attackers.

    ||x - (1 - t) a - t b||² = (1 - t) ||x - a||² + t ||x - b||² - t (1 - t) ||a - b||²

    Args:
      honest: (h, d).
      begin, end: (1, d).

    Returns:
      The function of a scalar; as of `squared_distances`, one that is not finite is +inf.

    Cost: once `squared_distances` of h + 2 rows, whatever is asked for later.
    Reference: Stewart's theorem.
    """
    h = len(honest)
    squares = squared_distances(jnp.concatenate([honest, begin, end]))
    to_begin, to_end, length = squares[:h, h], squares[:h, h + 1], squares[h, h + 1]

    def along(t: jax.Array) -> jax.Array:
        moved = (1 - t) * to_begin + t * to_end - t * (1 - t) * length
        moved = jnp.where(jnp.isfinite(moved), jnp.maximum(moved, 0), jnp.inf)
        sides = jnp.broadcast_to(moved[:, None], (h, num_byzantine))
        same = jnp.zeros((num_byzantine, num_byzantine), squares.dtype)
        return jnp.block([[squares[:h, :h], sides], [sides.T, same]])

    return along
