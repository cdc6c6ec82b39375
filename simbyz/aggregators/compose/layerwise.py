"""A rule applied to each layer of a model alone."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.calling import name_of, needs, require_of_updates
from simbyz._arrays.stacking import PyTree, ravel, row_like


def layerwise(rule: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The rule on each leaf of a pytree alone, as if a layer were a model of its own.

        layerwise(krum)(updates, f=3)
        jax.tree.map(lambda leaf: krum(leaf, f=3), updates)  # the same

    but that a leaf (n,) is a layer of one number, and alone would be refused.

    Every leaf is given the same f and options, a key too, but of `trusted`, a row as `fltrust` asks
    for, its own part. Of a selection, the result is a pytree of weights (n,), one for each leaf;
    the simulator, whose weights are (n,), takes no such selection.

    Args:
      rule: (updates, f) -> aggregate, configured by functools.partial; a chain or a selection too.

    Returns:
      A callable with the rule's signature.

    Raises:
      TypeError: a rule that is no function.
      ValueError: a rule that asks for `root`: a layer alone has no loss.
    """

    require_of_updates("rule", rule)
    if needs(rule, "root"):
        raise ValueError(
            f"layerwise can't give {name_of(rule)} the root that it asks for: the loss is of all "
            "layers together; give the rule itself, or bind a root of one layer's own"
        )

    # Its name and signature, by which it is given what it asks for, but not its attributes: the
    # selection of a rule is not that of the rule layer by layer.
    @functools.wraps(rule, updated=())
    def by_leaf(updates: PyTree, f: int, **options: Any) -> PyTree:
        leaves, structure = jax.tree.flatten(updates)
        own: list[dict[str, Any]] = [{}] * len(leaves)
        if options.get("trusted") is not None:
            parts = _parts(options["trusted"], updates)
            own = [{"trusted": {"leaf": part}} for part in parts]

        # In a dict: an array (n,) alone might be one worker's update.
        def of(leaf: Any, more: dict[str, Any]) -> Any:
            (made,) = jax.tree.leaves(rule({"leaf": leaf}, f, **options | more))
            return made

        return jax.tree.unflatten(structure, map(of, leaves, own))

    return by_leaf


def _parts(row: PyTree, updates: PyTree) -> list[jax.Array]:
    """A row, (d,) or a pytree like one worker's update, in the leaves' shapes."""
    stack, _ = ravel(updates)
    shapes = [jnp.shape(leaf)[1:] for leaf in jax.tree.leaves(updates)]
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1].tolist()
    parts = jnp.split(row_like(row, updates, stack), ends)
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
