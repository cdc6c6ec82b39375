"""Rules inside optax: what aggregates per-worker gradients as a gradient transformation.

    optimizer = optax.chain(
        at_workers(optax.trace(0.9), num_workers=11),
        as_gradient_transformation(median, f=3),
        optax.sgd(0.1),
    )
    state = optimizer.init(params)
    gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0))(params, batches)
    updates, state = optimizer.update(gradients, state, params)
    params = optax.apply_updates(params, updates)

Before the rule, updates have a leading worker axis; after it, the shape of the parameters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simbyz._arrays.calling import asks_for, require_rule
from simbyz._arrays.checks import integer, random_key
from simbyz._arrays.stacking import PyTree

__all__ = ["as_gradient_transformation", "at_workers"]


class RandomRuleState(NamedTuple):
    """The key that the next update splits."""

    key: jax.Array


def as_gradient_transformation(
    rule: Callable[..., PyTree], f: int, *, key: jax.Array | None = None
) -> optax.GradientTransformationExtraArgs:
    """A rule as an optax transformation: updates with a leading worker axis in, the aggregate out.

    Args:
      rule: (updates, f) -> aggregate, configured by functools.partial; a chain too.
      f: number of Byzantine workers tolerated.
      key: for a rule that asks for one (a chain with `bucketing`): the key of its first step. It is
        kept in the state and split at each update. Only such a rule takes one.

    Returns:
      A transformation for `optax.chain`, or the aggregator of
      `optax.experimental.aggregating.process`. Its `init` takes the parameters, as usual. Its
      `update` takes leaves (n, ...) and returns leaves (...); it raises ValueError at trace time
      where the rule refuses (n, f) and, if it is given the parameters, where the leaves are not
      theirs with one axis more (say, a gradient taken without vmap).

    Raises:
      TypeError: a rule that is no function, such as one that remembers; no key, or f no int.
      ValueError: a rule that asks for a key without one, or a key for a rule that asks for none; a
        rule that needs more.
    """
    require_rule("as_gradient_transformation", rule, ("key",))
    if asks_for(rule, "key") and key is None:
        raise ValueError("as_gradient_transformation needs a key: the rule asks for one")
    if not asks_for(rule, "key") and key is not None:
        raise ValueError("as_gradient_transformation was given a key: the rule asks for none")
    if key is not None:
        random_key("as_gradient_transformation", key)
    integer("f", f)

    def init(params: PyTree) -> optax.EmptyState | RandomRuleState:
        del params
        return optax.EmptyState() if key is None else RandomRuleState(key)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, Any]:
        del extra_args
        if params is not None:
            _require_worker_axis(updates, params)
        if key is None:
            return rule(updates, f), state
        next_key, own = jax.random.split(state.key)
        return rule(updates, f, key=own), RandomRuleState(next_key)

    return optax.GradientTransformationExtraArgs(init, update)


def at_workers(
    transformation: optax.GradientTransformation, num_workers: int
) -> optax.GradientTransformation:
    """A transformation that every worker applies to its own gradients, with a state of its own.

    `at_workers(optax.trace(0.9), n)` before a rule is momentum at the workers; a plain
    `optax.trace(0.9)` after it is momentum at the server.

    Args:
      transformation: of one worker's gradients, e.g. momentum or clipping. Where it draws, as
        `optax.add_noise` does, each worker has a key of its own, made of the one given.
      num_workers: n.

    Returns:
      A transformation of leaves (n, ...) to leaves (n, ...); its state has the leading axis n too.

    Raises:
      TypeError, ValueError: no transformation; num_workers is no int, or below 1.
    """
    if not isinstance(transformation, optax.GradientTransformation):
        raise TypeError(
            f"transformation must be optax's, such as optax.trace(0.9), got {transformation!r}"
        )
    transformation = optax.with_extra_args_support(transformation)
    num_workers = integer("num_workers", num_workers)
    if num_workers < 1:
        raise ValueError(f"at_workers needs num_workers >= 1, got {num_workers}")

    def copies(leaf: Any) -> jax.Array:
        each = jnp.broadcast_to(leaf, (num_workers, *jnp.shape(leaf)))
        if not jnp.issubdtype(each.dtype, jax.dtypes.prng_key):
            return each
        # But for keys: equal ones would be the same noise at all workers.
        numbers = jnp.arange(num_workers).reshape(-1, *[1] * (each.ndim - 1))
        folded = jax.vmap(jax.random.fold_in)(
            each.reshape(-1), jnp.broadcast_to(numbers, each.shape).reshape(-1)
        )
        return folded.reshape(each.shape)

    def init(params: PyTree) -> Any:
        # Every worker starts from the same state, though from its own copy of it.
        return jax.tree.map(copies, transformation.init(params))

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, Any]:
        def one_worker(own_updates: PyTree, own_state: Any) -> tuple[PyTree, Any]:
            return transformation.update(own_updates, own_state, params, **extra_args)

        return jax.vmap(one_worker)(updates, state)

    return optax.GradientTransformationExtraArgs(init, update)


def _require_worker_axis(updates: PyTree, params: PyTree) -> None:
    for update, param in zip(jax.tree.leaves(updates), jax.tree.leaves(params), strict=True):
        if jnp.shape(update)[1:] != jnp.shape(param) or jnp.ndim(update) == 0:
            raise ValueError(
                "updates must have the shapes of the parameters after a leading axis of workers, "
                f"got {jnp.shape(update)} for a parameter {jnp.shape(param)}"
            )
