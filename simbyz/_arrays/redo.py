"""A fast computation, done again in a slower way where its own result shows that it has to be."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from simbyz._arrays.chunks import SHARD, in_mesh
from simbyz._arrays.stacking import PyTree


def are_finite(rows: jax.Array) -> jax.Array:
    """Which rows (n, d) are finite in every coordinate: (n,) booleans; of one row (d,), whether it
    is: ().
    """
    # 0 · x is NaN unless x is finite. As a matrix product, since XLA:CPU's sum over the last axis
    # takes 30 times as long under vmap; behind a barrier, or XLA would know the product to be 0.
    zero = jax.lax.optimization_barrier(jnp.zeros(rows.shape[-1], rows.dtype))
    product = jnp.matmul(jax.lax.stop_gradient(rows), zero, precision=jax.lax.Precision.HIGHEST)
    return product == 0


def redo_if(
    bad: jax.Array, value: PyTree, redo: Callable[..., PyTree], *operands: PyTree
) -> PyTree:
    """The value, or what `redo` gives of the operands in its place where `bad`, a boolean, is true.

    A loop of at most one turn, since `jax.lax.cond` under vmap computes both for every lane: this
    way the slow one is computed for all lanes if any needs it, and not at all if none does. It has
    no derivative in reverse.
    """

    def turn(carry: tuple[jax.Array, PyTree]) -> tuple[jax.Array, PyTree]:
        # Behind a barrier with what changes, or XLA finds that every turn computes the same, and
        # does it before the loop, turn or no turn.
        bad, inputs = jax.lax.optimization_barrier((carry[0], operands))
        # Not a constant: in shard_map it has to vary over the devices as it did before.
        return bad & False, redo(*inputs)

    return jax.lax.while_loop(lambda carry: carry[0], turn, (bad, value))[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def repaired(row: jax.Array, again: Callable[..., jax.Array], *operands: PyTree) -> jax.Array:
    """A row (d,), and what `again` gives of the operands, the stack (n, d) first, in its place
    where it is not finite. Its derivative is that of the row. Each coordinate is on its own: in a
    mesh each device looks at its own ones.
    """

    def whole(row: jax.Array, *operands: PyTree) -> jax.Array:
        # Looked at in the loop's condition, which gets a row that is there: beside the loop, XLA
        # would compute the row a second time to look at it. The boolean is true before the first
        # turn; not a constant, as in `redo_if`.
        first = jnp.any(jnp.isfinite(row)) | True

        def turn(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            (first, row), inputs = jax.lax.optimization_barrier((carry, operands))
            return first & False, jnp.where(jnp.isfinite(row), row, again(*inputs))

        return jax.lax.while_loop(
            lambda carry: carry[0] & ~are_finite(carry[1]), turn, (first, row)
        )[1]

    if not in_mesh():
        return whole(row, *operands)
    cut = PartitionSpec(SHARD)
    others = jax.tree.map(lambda _: PartitionSpec(), operands[1:])
    in_specs = (cut, PartitionSpec(None, SHARD), *others)
    return jax.shard_map(whole, in_specs=in_specs, out_specs=cut)(row, *operands)


@repaired.defjvp
def _moves_as_it_did(
    again: Callable[..., jax.Array], primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Any, ...]:
    row, *operands = primals
    return repaired(row, again, *operands), tangents[0]
