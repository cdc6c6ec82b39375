"""Few numbers in place of many coordinates, for rules that do not mind a rotation."""

import jax
import jax.numpy as jnp

from simbyz._arrays.scales import unit_where_unusual


def in_span(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Vectors (k, d) as numbers (k, m) in an orthonormal basis (m, d) of their span, m = min(k, d):
    vectors = numbers · basis, and all inner products are the same.

    A rule that turns with its rows gives, on numbers, the numbers of what it gives on vectors.

    Cost: O(k² d), about as much as one set of distances.
    """
    unit = unit_where_unusual(vectors)
    basis, numbers = jnp.linalg.qr(vectors.T * unit)
    return numbers.T / unit, basis.T


def numbers_in_span(vectors: jax.Array) -> jax.Array:
    """Vectors (k, d) as a few numbers each, with the same inner products up to rounding.

    In turn each vector, as far as it is left, is a direction: all give up their part along it, and
    that part is a number. Whatever unit vector the direction is, what is left loses the product of
    the numbers of its inner products, and at the end nothing is left: so it takes no basis that is
    orthogonal to the last digit, and vectors may be equal, or 0.

    Cost: O(k² d), k passes. On one device `in_span` does it in about a third of the time; where a
      process has several, LAPACK's QR hung a sweep over two virtual ones on one core (jaxlib
      0.10.2; see docs/workarounds.md).
    """
    if jax.local_device_count() == 1:
        return in_span(vectors)[0]
    unit = unit_where_unusual(vectors)

    def step(left: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        length = jnp.linalg.norm(left[row])
        direction = left[row] / jnp.where(length > 0, length, 1)
        numbers = jnp.matmul(left, direction, precision=jax.lax.Precision.HIGHEST)
        return left - numbers[:, None] * direction[None], numbers

    _, columns = jax.lax.scan(step, vectors * unit, jnp.arange(len(vectors)))
    return columns.T / unit
