"""Rules of each coordinate alone, a piece of the coordinates after the other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import first_carry, in_mesh
from simbyz._arrays.ranks.order_statistics import MAX_ORDERED_ROWS

# Coordinates of a piece. Not a power of two: a column of rows 512 values apart falls on few of the
# first-level cache's sets, and pushes itself out.
PIECE = 480


def by_pieces(rule: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """A rule of each coordinate alone, (n, d) -> (d,), applied to one piece of them after the other
    where there are many rows and the device is a CPU.

    The loop copies each piece into the cache first: above 64 rows, of which a network reads a few
    values of all at a time, that mostly takes less time, up to 64 rows more (docs/speed-rules.md).
    A sort needs memory for a piece alone.
    """

    def whole(stack: jax.Array) -> jax.Array:
        n, d = stack.shape
        few = n <= MAX_ORDERED_ROWS or d <= PIECE
        if few or in_mesh() or jax.default_backend() != "cpu":
            return rule(stack)

        def turn(turn: jax.Array, row: jax.Array) -> jax.Array:
            # The last piece is moved back to stay inside: it repeats a part of the one before.
            start = jnp.minimum(turn * PIECE, d - PIECE)
            piece = rule(jax.lax.dynamic_slice_in_dim(stack, start, PIECE, axis=1))
            return jax.lax.dynamic_update_slice_in_dim(row, piece, start, axis=0)

        empty = first_carry(jnp.zeros(d, stack.dtype), stack)
        return jax.lax.fori_loop(0, -(-d // PIECE), turn, empty)

    return whole
