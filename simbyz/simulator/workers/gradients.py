"""Gradients of the workers in a step: each the gradient of its own batch, all in one `vmap`."""

import functools
from collections.abc import Callable
from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.calling import asks_for, require_taking
from simbyz._arrays.checks import at_least, random_key, require_shape
from simbyz._arrays.chunks import SHARD
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import PyTree
from simbyz.attacks import DATA_ATTACKS
from simbyz.simulator.config import Config
from simbyz.simulator.keys import BATCHES, OTHER_BATCHES, WORKERS, of_step
from simbyz.simulator.participation import Round
from simbyz.simulator.workers.sender import Sent, Take, numbers
from simbyz.tasks.returned import checked_batches, checked_loss
from simbyz.tasks.task import Task

# labels of a batch -> labels; with keyword-only `logits`, if it asks for those of the examples
Relabel = Callable[..., jax.Array]


def check_relabel(relabel: Relabel, task: Task, config: str, given: bool) -> None:
    """Whether a data attack has gradients to act on; given: by this configuration it has.

    Raises:
      TypeError: it is no function.
      ValueError: they are not, or the task's loss takes none; or it is one of this library that
        knows fewer classes than the task has.
    """
    require_taking("relabel", relabel, "labels", "lambda labels: 9 - labels")
    if not given:
        raise ValueError(f"relabel needs {config}(byzantine_gradients=True)")
    takes = signature(task.loss).parameters.values()
    if not any(one.name == "relabel" or one.kind is one.VAR_KEYWORD for one in takes):
        raise ValueError(
            "relabel needs a task whose loss has a parameter `relabel`, as that of "
            "classification(...) has"
        )
    bare, labels = relabel, getattr(task.data, "train_labels", None)
    while isinstance(bare, functools.partial):
        bare = bare.func
    if labels is not None and bare in DATA_ATTACKS.values():
        relabel(jnp.asarray(np.unique(labels)))  # traced later, when no value is known


def draw_batches(
    config: Config,
    task: Task,
    data: PyTree,
    key: jax.Array,
    first_step: jax.Array,
    num_steps: int,
) -> PyTree:
    """Batches of all w workers that compute: leaves (num_steps, w, ...); with k local steps, which
    read one each, (num_steps, k, w, ...).

    The first h workers read what they would read alone: where workers share a pass over the data,
    the others share another one.

    Raises:
      TypeError: the key or num_steps is none.
      ValueError: num_steps below 0.
    """
    random_key("a run", key)
    at_least("num_steps", num_steps, 0)
    k = config.local_steps

    def draw(purpose: int, count: int) -> PyTree:
        own_key = jax.random.fold_in(key, purpose)
        batches = task.batches(data, own_key, first_step * k, num_steps * k, count)
        return checked_batches(batches, num_steps * k, count)

    others = config.computing - config.honest
    if not task.shared_pass or others == 0:
        batches = draw(BATCHES, config.computing)
    elif config.honest == 0:
        batches = draw(OTHER_BATCHES, others)
    else:
        batches = jax.tree.map(
            lambda first, second: jnp.concatenate([first, second], axis=1),
            draw(BATCHES, config.honest),
            draw(OTHER_BATCHES, others),
        )
    if k == 1:
        return batches
    return jax.tree.map(lambda leaf: leaf.reshape(num_steps, k, *leaf.shape[1:]), batches)


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
) -> Take:
    """The gradients of loss + l2 ||θ||, of all workers that compute in a step: what the first
    sender takes. The model state is the mean of the honest workers' new ones.

    Args:
      config: of the run.
      task: model and data.
      unravel: (d,) -> parameters.
      relabel: what Byzantine workers do to the labels of their batches; None without a data attack.
    """
    partial = config.participants is not None

    def change(labels: jax.Array, **known: jax.Array) -> jax.Array:
        if relabel is None:
            return labels
        changed = relabel(labels, **known)
        require_shape("relabel", changed, labels.shape, "labels")
        if not jnp.issubdtype(changed.dtype, jnp.integer):
            raise ValueError(f"relabel must return ints, as labels are, got {changed.dtype}")
        return changed

    def for_byzantine(byzantine: jax.Array) -> Relabel:
        def of_labels(labels: jax.Array) -> jax.Array:
            return jnp.where(byzantine, change(labels), labels)

        def of_both(labels: jax.Array, *, logits: jax.Array) -> jax.Array:
            return jnp.where(byzantine, change(labels, logits=logits), labels)

        return of_both if relabel is not None and asks_for(relabel, "logits") else of_labels

    def take(point: jax.Array, round: Round) -> Sent:
        own_point = point.ndim == 2
        parameters = jax.vmap(unravel)(point) if own_point else unravel(point)
        # The first keys of many are those of few: what the first h draw depends on no others.
        keys = jax.random.split(of_step(round.key, WORKERS, round.turn), config.computing)
        batches, model_state = round.batch, round.model_state
        byzantine = round.part.byzantine[: config.rounds[0].computing]
        if partial:
            rows = numbers(round, config.rounds[0].computing)
            keys = keys[rows]
            batches = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), batches)
        each: tuple[PyTree, ...] = (batches, keys)
        if relabel is not None:
            each += (byzantine,)

        def worker(
            parameters: PyTree, batch: PyTree, key: jax.Array, byzantine: jax.Array | None = None
        ) -> tuple[tuple[jax.Array, PyTree], jax.Array]:
            options = {}
            if byzantine is not None:
                options["relabel"] = for_byzantine(byzantine)

            def loss(parameters: PyTree) -> tuple[jax.Array, PyTree]:
                made = task.loss(round.data, parameters, model_state, batch, key, **options)
                return checked_loss(made, model_state)

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
        l2, points = round.hyperparameters.l2, jnp.atleast_2d(wide(point))
        squares = jnp.sum(jnp.square(points), axis=1, keepdims=True)
        some = squares > 0  # of none the root has no derivative
        norms = jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1)), 0)
        rows = rows + l2 * points / jnp.where(some, norms, 1)
        losses = losses + l2 * norms.reshape(-1)
        if partial:
            honest = ~byzantine
            model_state = jax.tree.map(lambda leaf: mean_of(leaf, honest), model_states)
            return Sent(rows, rows, losses, model_state)
        if 0 < config.honest < config.computing:
            honest = round.part.identities.honest
            model_states = jax.tree.map(lambda leaf: leaf[honest], model_states)
        model_state = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), model_states)
        return Sent(rows, rows, losses, model_state)

    return take
