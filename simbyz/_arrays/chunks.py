"""Loops over chunks of coordinates, on one device or cut over the devices of a mesh."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from simbyz._arrays.stacking import PyTree

# The axis of a mesh over which coordinates may be cut: see `simbyz.sweeps.mesh`.
SHARD = "shard"


def in_mesh() -> bool:
    """Whether coordinates are cut over devices: what is quick on one device, but has to be checked
    by all of them, or done again, is not worth what they would send each other.
    """
    return SHARD in jax.sharding.get_abstract_mesh().auto_axes


# Values handled at once: half of a core's second-level cache of one megabyte.
CHUNK = 2**17


def chunk_width(stack: jax.Array) -> int:
    """How many coordinates of all rows (n, d) to handle at once: what stays in a core's cache; all
    on a GPU, where a turn of a loop is a few launches more.
    """
    n, d = stack.shape
    return max(1, min(CHUNK // n, d)) if jax.default_backend() == "cpu" else d


def sum_over_chunks(
    function: Callable[[jax.Array], jax.Array],
    stack: jax.Array,
    center: jax.Array,
    unit: jax.Array | None = None,
) -> jax.Array:
    """The sum of a function of the rows minus a centre, times a unit, over chunks of coordinates.

    For one, a chunk that was just centred is still in the cache. For another, what a loop reads is
    an array: outside of one, XLA would fuse a sorting network that makes the centre into the
    subtraction, and run it again for each of the n rows. So it is a loop even for a single chunk.

    In a mesh with an axis `SHARD`, each device sums over its coordinates, and they add their sums.
    """
    if in_mesh():

        def own(stack: jax.Array, center: jax.Array, unit: jax.Array | None) -> jax.Array:
            return jax.lax.psum(_sum_over_chunks(function, stack, center, unit), SHARD)

        cut = PartitionSpec(None, SHARD), PartitionSpec(SHARD), PartitionSpec()
        return jax.shard_map(own, in_specs=cut, out_specs=PartitionSpec())(stack, center, unit)
    return _sum_over_chunks(function, stack, center, unit)


def _sum_over_chunks(
    function: Callable[[jax.Array], jax.Array],
    stack: jax.Array,
    center: jax.Array,
    unit: jax.Array | None,
) -> jax.Array:
    n, d = stack.shape
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    size = chunk_width(stack)
    turns, whole = -(-d // size), center
    if turns == 1:
        # A loop that it knows to have one turn, XLA takes apart.
        turns = jax.lax.optimization_barrier(jnp.int32(1))

    def turn(turn: jax.Array, total: jax.Array) -> jax.Array:
        # The last chunk is moved back to stay inside: its first coordinates were counted before.
        start = jnp.clip(turn * size, 0, d - size)
        # As if it changed, or XLA would subtract the centre of a single chunk before the loop.
        start, center = jax.lax.optimization_barrier((start, whole))
        rows = jax.lax.dynamic_slice_in_dim(stack, start, size, axis=1).astype(dtype)
        middle = jax.lax.dynamic_slice_in_dim(center, start, size).astype(dtype)
        if unit is not None:
            # Before the difference is taken, which may be no float, or flushed to 0.
            rows, middle = rows * unit, middle * unit
        new = start + jnp.arange(size) >= turn * size
        return total + function(jnp.where(new[None], rows - middle[None], 0))

    shape = jax.eval_shape(function, jax.ShapeDtypeStruct((n, size), dtype)).shape
    return jax.lax.fori_loop(0, turns, turn, first_carry(jnp.zeros(shape, dtype), stack))


def in_shard_map() -> bool:
    """Whether a loop's carry has to vary over devices as its body does: within shard_map, but for
    that of pmap, which does not ask for it (jax 0.10.2, where its axis has this name).
    """
    axes = jax.sharding.get_abstract_mesh().manual_axes
    return any(axis != "_internal_pmap_axis_name" for axis in axes)


def first_carry(value: PyTree, stack: jax.Array) -> PyTree:
    """First carry of a loop over a stack, fit for shard_map: where the stack varies over devices,
    a loop's carry has to from the start. What depends on the stack does so; XLA drops the choice
    between two equal values.
    """
    either = stack[(0,) * stack.ndim] == 0
    return jax.tree.map(lambda leaf: jnp.where(either, leaf, leaf), value)


def copies(row: jax.Array, number: int) -> jax.Array:
    """The same row (d,) so many times: (number, d).

    Copied in a loop: XLA:CPU fuses a broadcast with what makes the row, and makes each row anew,
    which takes 12 times as long for 12 rows.
    """

    def copy(place: jax.Array, rows: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice(rows, row[None], (place, 0))

    rows = first_carry(jnp.zeros((number, *row.shape), row.dtype), row)
    return jax.lax.fori_loop(0, number, copy, rows)


def kept(row: jax.Array) -> jax.Array:
    """The same row (d,), as an array in memory, to be subtracted from many rows: see `copies`."""
    return copies(row, 2)[0]
