"""What the workers compute in a step: each the gradient of its own batch, all in one `vmap`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import SHARD
from simbyz.simulator.config import Config
from simbyz.simulator.keys import BATCHES, OTHER_BATCHES, WORKERS, of_step
from simbyz.simulator.participation import participants
from simbyz.tasks.task import Task

PyTree = Any
# labels of a batch -> labels
Relabel = Callable[[jax.Array], jax.Array]


def draw_batches(
    config: Config,
    task: Task,
    data: PyTree,
    key: jax.Array,
    first_step: jax.Array,
    num_steps: int,
) -> PyTree:
    """Batches of all workers that compute: leaves (num_steps, config.computing, ...).

    The first h workers read what they would read alone: where workers share a pass over the data,
    the others share another one.
    """

    def draw(purpose: int, count: int) -> PyTree:
        own_key = jax.random.fold_in(key, purpose)
        return task.batches(data, own_key, first_step, num_steps, count)

    others = config.computing - config.honest
    if not task.shared_pass or others == 0:
        return draw(BATCHES, config.computing)
    if config.honest == 0:
        return draw(OTHER_BATCHES, others)
    return jax.tree.map(
        lambda first, second: jnp.concatenate([first, second], axis=1),
        draw(BATCHES, config.honest),
        draw(OTHER_BATCHES, others),
    )


def mean_of(leaf: jax.Array, some: jax.Array) -> jax.Array:
    """The mean over the rows (w, ...) that are marked (w,), of all of them if none is."""
    some = jnp.where(jnp.any(some), some, True).reshape(-1, *[1] * (leaf.ndim - 1))
    return jnp.mean(leaf, axis=0, where=some)


def in_turns(function: Callable[[PyTree], PyTree], each: PyTree, at_once: int) -> PyTree:
    """`function` of each of w workers, leaves (w, ...), `at_once` of them together.

    In a mesh with an axis `SHARD` each device takes its own w / devices of them in turns.
    """

    def some(each: PyTree) -> PyTree:
        return jax.lax.map(function, each, batch_size=at_once)

    mesh = jax.sharding.get_abstract_mesh()
    if SHARD not in mesh.auto_axes:
        return some(each)
    devices = mesh.shape[SHARD]
    own = jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), each)
    return jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), jax.vmap(some, spmd_axis_name=SHARD)(own)
    )


def make_gradients(
    config: Config,
    task: Task,
    unravel: Callable[[jax.Array], PyTree],
    relabel: Relabel | None = None,
) -> Callable[..., tuple[jax.Array, jax.Array, PyTree]]:
    """The gradients of all workers that compute, w = config.computing of them.

    Args:
      config: of the run.
      task: model and data.
      unravel: (d,) -> parameters.
      relabel: what Byzantine workers do to the labels of their batches; None without a data attack.

    Returns:
      gradients(at, l2, model_state, data, key, step, batches, round_step=None) -> (gradients
        (w, d), losses (w,), model_state): those of loss + l2 ||θ|| at θ = `at`, which is (d,), or
        (w, d) where each has its own; and the mean of the honest workers' new model states.
        `batches`: leaves (w, ...).
        `round_step`: the step that decides who is Byzantine, where `step` counts local steps.
    """

    partial, count = config.participants is not None, config.rounds[0].computing
    change = (lambda labels: labels) if relabel is None else relabel

    def gradients(
        at: jax.Array,
        l2: jax.Array | float,
        model_state: PyTree,
        data: PyTree,
        key: jax.Array,
        step: jax.Array,
        batches: PyTree,
        round_step: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array, PyTree]:
        own_point = at.ndim == 2
        parameters = jax.vmap(unravel)(at) if own_point else unravel(at)
        # The first keys of many are those of few: what the first h draw depends on no others.
        keys = jax.random.split(of_step(key, WORKERS, step), config.computing)
        part = participants(config, key, step if round_step is None else round_step)
        byzantine = part.byzantine[:count]
        if partial:
            keys = keys[part.workers[:count]]
        each: tuple[PyTree, ...] = (batches, keys)
        if relabel is not None:
            each += (byzantine,)

        def worker(
            parameters: PyTree, batch: PyTree, key: jax.Array, byzantine: jax.Array | None = None
        ):
            options = {}
            if byzantine is not None:
                options["relabel"] = lambda labels: jnp.where(byzantine, change(labels), labels)

            def loss(parameters: PyTree):
                return task.loss(data, parameters, model_state, batch, key, **options)

            outcome, gradient = jax.value_and_grad(loss, has_aux=True)(parameters)
            # As a row while it is in the cache: trees of all workers would be copied once more.
            flat = [leaf.reshape(-1) for leaf in jax.tree.leaves(gradient)]
            return outcome, jnp.concatenate(flat)

        if config.workers_at_once is None:
            axes = (0 if own_point else None, *[0] * len(each))
            outcome = jax.vmap(worker, in_axes=axes)(parameters, *each)
        elif own_point:
            outcome = in_turns(
                lambda one: worker(*one), (parameters, *each), config.workers_at_once
            )
        else:
            outcome = in_turns(lambda one: worker(parameters, *one), each, config.workers_at_once)
        (losses, model_states), rows = outcome
        at = at if own_point else at[None]
        norms = jnp.linalg.norm(at, axis=1, keepdims=True)
        rows = rows + l2 * at / jnp.where(norms > 0, norms, 1)
        losses = losses + l2 * norms.reshape(-1)
        if partial:
            honest = ~byzantine
            return rows, losses, jax.tree.map(lambda leaf: mean_of(leaf, honest), model_states)
        if 0 < config.honest < config.computing:
            honest = part.identities.honest
            model_states = jax.tree.map(lambda leaf: leaf[honest], model_states)
        return rows, losses, jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), model_states)

    return gradients
