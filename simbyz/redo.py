"""A fast computation, done again in a slower way where its own result shows that it has to be."""

from collections.abc import Callable

import jax

from simbyz.stacking import PyTree


def redo_if(bad: jax.Array, value: PyTree, redo: Callable[[], PyTree]) -> PyTree:
    """The value, or what `redo` gives in its place where `bad`, a boolean, is true.

    A loop of at most one turn, since `jax.lax.cond` under vmap computes both for every lane: this
    way the slow one is computed for all lanes if any needs it, and not at all if none does. It has
    no derivative in reverse.
    """

    def turn(carry: tuple[jax.Array, PyTree]) -> tuple[jax.Array, PyTree]:
        # Not a constant: in shard_map it has to vary over the devices as it did before.
        return carry[0] & False, redo()

    return jax.lax.while_loop(lambda carry: carry[0], turn, (bad, value))[1]
