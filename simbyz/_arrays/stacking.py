"""A pytree whose leaves have a leading worker axis: its type, and as one (n, d) matrix and back.

In types, `Updates` and their kind are an array or a pytree of arrays of n workers, h of them
honest, b Byzantine; `*?shape` is a leaf's own shape, the same on the way in and out, and T the
structure of the tree. The tests check them at every call.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from simbyz._arrays.checks import NUMBERS

PyTree = Any

if TYPE_CHECKING:  # to a type checker, a pytree is anything
    Updates = Any
    Row = Any
    Honest = Any
    Byzantine = Any
else:
    import jaxtyping
    import numpy as np
    from jaxtyping import Float

    Given = jax.Array | np.ndarray
    Updates = jaxtyping.PyTree[Float[Given, "n *?shape"], "T"]
    Row = jaxtyping.PyTree[Float[Given | np.generic, "*?shape"], "T"]
    Honest = jaxtyping.PyTree[Float[Given, "h *?shape"], "T"]
    Byzantine = jaxtyping.PyTree[Float[jax.Array, "b *?shape"], "T"]


def ravel(updates: PyTree) -> tuple[jax.Array, Callable[[jax.Array], PyTree]]:
    """One row a worker.

    Args:
      updates: an (n, d) array, or a pytree of floating-point leaves (n, ...). A list or tuple of
        arrays of one shape may be n workers' updates or layers of a model: it is refused, as one
        of the two readings would give numbers that mean nothing.

    Returns:
      The (n, d) stack, and `unravel`, which turns an array (..., d) into the pytree of leaves (...,
      *shape), `shape` being a leaf's shape without the worker axis; each leaf gets its own dtype
      back.

    Raises:
      TypeError: a leaf that is no array.
      ValueError: no leaf, no worker, no coordinate, leaves that disagree on n, leaves that are not
        floating point of 16 bits or more, a list of arrays of one shape, or a single array (n,).
    """
    given, structure = jax.tree.flatten(updates)
    leaves = [_array("updates", leaf) for leaf in given]
    if len(leaves) == 1 and leaves[0].ndim == 1 and jax.tree_util.treedef_is_leaf(structure):
        raise ValueError(
            "updates must be an (n, d) array or a pytree of leaves (n, ...), got one array of "
            f"shape {leaves[0].shape}: one number from each of n workers is updates[:, None]"
        )
    if not leaves:
        raise ValueError("updates must hold at least one array, got an empty pytree")
    shapes = [leaf.shape for leaf in leaves]
    if type(updates) in (list, tuple) and len(set(shapes)) == 1:
        raise ValueError(
            f"updates came as a {type(updates).__name__} of {len(updates)}, with arrays of shape "
            f"{shapes[0]}: make one array of workers' updates, jnp.asarray(updates), and a dict of "
            "layers that have a worker axis"
        )
    if any(len(shape) == 0 for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"updates must share a leading axis of n workers, got shapes {shapes}")
    if shapes[0][0] == 0:
        raise ValueError("updates must come from n >= 1 workers, got n=0")
    if not any(leaf.size for leaf in leaves):
        raise ValueError(f"updates must have d >= 1 coordinates, got shapes {shapes}")
    dtypes = [leaf.dtype for leaf in leaves]
    if not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        raise ValueError(f"updates must be floating point, got dtypes {[str(d) for d in dtypes]}")
    if any(dtype.itemsize < 2 for dtype in dtypes):
        raise ValueError(
            f"updates must be of 16 bits or more, got dtypes {[str(d) for d in dtypes]}: rows of "
            "fewer are .astype(jnp.float32) before, since JAX computes with no such number"
        )

    if len(leaves) == 1 and leaves[0].ndim == 2:
        return leaves[0], lambda rows: jax.tree.unflatten(structure, [rows])

    n = shapes[0][0]
    flat = [leaf.reshape(n, -1) for leaf in leaves]
    ends, end = [], 0
    for leaf in flat:
        end += leaf.shape[1]
        ends.append(end)
    dtype = jnp.result_type(*dtypes)

    def unravel(rows: jax.Array) -> PyTree:
        pieces = jnp.split(rows, ends[:-1], axis=-1)
        return jax.tree.unflatten(
            structure,
            [
                piece.reshape(*rows.shape[:-1], *shape[1:]).astype(own)
                for piece, shape, own in zip(pieces, shapes, dtypes, strict=True)
            ],
        )

    return jnp.concatenate([leaf.astype(dtype) for leaf in flat], axis=1), unravel


def _array(what: str, leaf: Any) -> jax.Array:
    try:
        return jnp.asarray(leaf)
    except (TypeError, OverflowError) as error:
        got = f"{type(leaf).__name__} {leaf!r:.60}"
        raise TypeError(f"{what} must hold arrays of numbers, got {got}") from error


def in_types_of(before: PyTree, after: PyTree) -> PyTree:
    """What a step of a loop carries on, its floats of the types that they had before it, as JAX's
    loops ask for: a float64 among the numbers, or parameters in half precision, would change them.

    Raises:
      ValueError: something has another shape or kind than before, is gone, or is new.
    """
    was, now = _by_path(before), _by_path(after)
    for path in {**was, **now}:
        old, new = was.get(path), now.get(path)
        if not _may_follow(old, new):
            raise ValueError(
                "a step must carry on what it was given, in the same shapes and kinds: "
                f"{path.lstrip('.') or 'a memory'} was {_in_words(old)} and became {_in_words(new)}"
            )

    def kept(old: Any, new: Any) -> Any:
        arrays = isinstance(old, jax.Array) and isinstance(new, jax.Array)
        if not arrays or not all(jnp.issubdtype(one.dtype, jnp.floating) for one in (old, new)):
            return new
        return new.astype(old.dtype)

    return jax.tree.map(kept, before, after)


def _by_path(tree: PyTree) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _may_follow(old: Any, new: Any) -> bool:
    """Whether a loop that carries the one may carry the other after it: floats of another width are
    brought to the old one, and a number without a dtype of its own gets that of the new one.
    """
    if not isinstance(old, NUMBERS) or not isinstance(new, NUMBERS):
        return False
    if jnp.shape(old) != jnp.shape(new):
        return False
    types = jax.typeof(old), jax.typeof(new)
    floats = all(jnp.issubdtype(one.dtype, jnp.floating) for one in types)
    return floats or types[0].weak_type or types[0].dtype == types[1].dtype


def _in_words(leaf: Any) -> str:
    if leaf is None:
        return "nothing"
    if not isinstance(leaf, NUMBERS):
        return type(leaf).__name__
    return f"{jax.typeof(leaf).dtype} of shape {jnp.shape(leaf)}"


def unraveller(template: PyTree) -> Callable[[jax.Array], PyTree]:
    """The way back from a vector (d,) of `jax.flatten_util.ravel_pytree` to the pytree, known from
    the shapes and dtypes of its leaves alone: nothing is computed, hence nothing compiled.
    """
    unravel: Callable[[jax.Array], PyTree]

    def flat(tree: PyTree) -> jax.Array:
        nonlocal unravel
        vector, unravel = ravel_pytree(tree)
        return vector

    jax.eval_shape(flat, template)
    return unravel


def aggregate(rule: Callable[[jax.Array], jax.Array], updates: PyTree) -> PyTree:
    """A rule on stacks, (n, d) -> (d,), applied to a pytree: the pytree without its worker axis."""
    stack, unravel = ravel(updates)
    return unravel(rule(stack))


def row_like(row: PyTree, updates: PyTree, stack: jax.Array) -> jax.Array:
    """A row (d,), or a pytree like one worker's update, as a row of the stack of the updates.

    Raises:
      TypeError: it holds what is no array.
      ValueError: it has not d coordinates, or others in each leaf: they would be taken for the
        coordinates of other leaves. Or it is not floating point.
    """
    if isinstance(row, list | tuple) and all(jnp.ndim(one) == 0 for one in row):
        row = jnp.asarray(row)
    leaves = [_array("the row given", leaf) for leaf in jax.tree.leaves(row)]
    shapes, size = [leaf.shape for leaf in leaves], sum(leaf.size for leaf in leaves)
    if size != stack.shape[1]:
        raise ValueError(f"an update has {stack.shape[1]} coordinates, the row given {size}")
    own = [leaf.shape[1:] for leaf in jax.tree.leaves(updates)]
    if shapes not in (own, [(size,)]):
        raise ValueError(f"an update has leaves of shapes {own}, the row given {shapes}")
    dtypes = [str(leaf.dtype) for leaf in leaves]
    if not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        raise ValueError(f"the row given must be floating point, got dtypes {dtypes}")
    return ravel({number: leaf[None] for number, leaf in enumerate(leaves)})[0][0]
