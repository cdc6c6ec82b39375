"""A fast computation, done again in a slower way where its own result shows that it has to be."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

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
