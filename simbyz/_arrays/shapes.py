"""Shapes in types: what rules, pre-aggregators and attacks take, and what attacks give.

Each is an array or a pytree of arrays: n workers, h of them honest, b Byzantine; `*?shape` is a
leaf's own shape, the same on the way in and out, and T the structure of the tree. The tests check
them at every call.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # to a type checker, a pytree is anything
    Updates = Any
    Row = Any
    Honest = Any
    Byzantine = Any
else:
    import numpy as np
    from jax import Array
    from jaxtyping import Float, PyTree

    Given = Array | np.ndarray
    Updates = PyTree[Float[Given, "n *?shape"], "T"]
    Row = PyTree[Float[Given | np.generic, "*?shape"], "T"]
    Honest = PyTree[Float[Given, "h *?shape"], "T"]
    Byzantine = PyTree[Float[Array, "b *?shape"], "T"]
