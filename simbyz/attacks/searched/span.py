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
