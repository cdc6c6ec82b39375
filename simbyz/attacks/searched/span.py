"""Few numbers in place of many coordinates, for rules that do not mind a rotation."""

import jax
import jax.numpy as jnp

from simbyz._arrays.geometry import full_product
from simbyz._arrays.scales import unit_where_unusual


def in_span(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Vectors (k, d) as numbers (k, m) of directions (m, d): vectors = numbers · directions, and
    numbers have the inner products of the vectors, up to rounding.

    A rule that turns with its rows gives, on numbers, the numbers of what it gives on vectors.

    Cost: O(k² d), about as much as one set of distances; where a process has several devices three
      times as much: LAPACK's QR hung a sweep over two virtual ones on one core (jaxlib 0.10.2; see
      docs/workarounds.md).
    """
    unit = unit_where_unusual(vectors)
    if jax.local_device_count() == 1:
        basis, numbers = jnp.linalg.qr(vectors.T * unit)
        return numbers.T / unit, basis.T
    numbers, directions = _in_turn(vectors * unit)
    return numbers / unit, directions


def _in_turn(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`in_span` with m = k. In turn each vector, as far as it is left, is a direction: all give up
    their part along it, and that part is a number.

    Whatever unit vector the direction is, what is left loses the product of the numbers of its
    inner products, and at the end nothing is left: so numbers are as good where directions are not
    orthogonal to the last digit, and vectors may be equal, or 0.
    """

    def step(left: jax.Array, row: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        length = jnp.linalg.norm(left[row])
        direction = left[row] / jnp.where(length > 0, length, 1)
        numbers = full_product(left, direction)
        return left - numbers[:, None] * direction[None], (numbers, direction)

    _, (columns, directions) = jax.lax.scan(step, vectors, jnp.arange(len(vectors)))
    return columns.T, directions
