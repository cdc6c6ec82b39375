"""One run over many devices: each holds the gradients of some workers, then some coordinates of
all workers.

A step, with w workers that compute and D devices, and what the devices send:

    θ gathered on each device                                    all-gather of d numbers
    gradients of w / D workers on each, (w, d) cut along w
    the same numbers cut along d                                 all-to-all of w · d numbers
    momenta, attack, rule and update on d / D coordinates of each
        a rule by coordinates                                    nothing
        a rule by distances between workers                      all-reduces of n² and of 1
    the study columns                                            all-reduces of a few numbers

So memory falls as 1 / D, but for one copy of θ and what w / D gradients take. The functions of the
simulator are as they are: `jax.jit` cuts them along the shardings of what they are given.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from simbyz._arrays.checks import require_devices
from simbyz._arrays.chunks import SHARD
from simbyz._arrays.stacking import PyTree, unraveller
from simbyz.simulator import Config, Hyperparameters, Simulator, State
from simbyz.simulator.metrics import Metrics
from simbyz.simulator.participation import Round
from simbyz.simulator.workers import Sent
from simbyz.simulator.workers.gradients import Relabel, draw_batches, make_gradients
from simbyz.tasks.task import Task


def mesh_of(devices: Sequence[jax.Device]) -> Mesh:
    """Devices in a row, along which workers or coordinates are cut.

    Raises:
      TypeError, ValueError: no device, one twice, or something else.
    """
    return Mesh(np.array(require_devices(devices)), (SHARD,), axis_types=(AxisType.Auto,))


def padded(task: Task, devices: int) -> Task:
    """The task with up to devices - 1 more parameters, zero and without influence, so that d can be
    cut into equal parts. They come last, so that θ[:d] is the task's own.
    """
    own, _ = jax.eval_shape(task.initialise, jax.random.key(0))
    missing = -sum(leaf.size for leaf in jax.tree.leaves(own)) % devices
    if missing == 0:
        return task

    def initialise(key: jax.Array) -> tuple[PyTree, PyTree]:
        parameters, model_state = task.initialise(key)
        return (parameters, jnp.zeros(missing)), model_state

    def of_own(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(data: PyTree, parameters: PyTree, *rest: Any, **options: Any) -> Any:
            return function(data, parameters[0], *rest, **options)

        return call

    reading = {name: getattr(task, name) for name in ("loss", "accuracy", "root_loss", "predict")}
    wrapped: dict[str, Any] = {
        name: of_own(call) for name, call in reading.items() if call is not None
    }
    return task._replace(initialise=initialise, **wrapped)


def shardings_of(state: State, mesh: Mesh) -> State:
    """Where a state lies: what has d coordinates is cut along them, the rest is on every device.

    Args:
      state: of a run, or its shapes.
      mesh: of `mesh_of`.

    Raises:
      ValueError: d can't be cut into equal parts.
    """
    d = state.parameters.size
    if d % mesh.size:
        raise ValueError(
            f"d = {d} can't be cut among {mesh.size} devices: see simbyz.sweeps.mesh.padded"
        )

    def of(leaf: Any) -> NamedSharding:
        if leaf.ndim == 0 or leaf.shape[-1] != d:
            return NamedSharding(mesh, PartitionSpec())
        return NamedSharding(mesh, PartitionSpec(*[None] * (leaf.ndim - 1), SHARD))

    return jax.tree.map(of, state)


class Sharded(NamedTuple):
    """The compiled functions of one run over a mesh, as the simulator's own."""

    initialise: Callable[[jax.Array], State]
    advance: Callable[..., tuple[State, Metrics]]


def shard(
    simulator: Simulator, config: Config, task: Task, mesh: Mesh, relabel: Relabel | None = None
) -> Sharded:
    """One run over the devices of a mesh.

    Args:
      simulator: of this configuration, task and data attack.
      config: of the run; `workers_at_once` are those of a device, among which the workers that
        compute must then be cut into equal parts; `participants` must be None. One local step,
        without variance reduction.
      task: see `padded`.
      mesh: of `mesh_of`.
      relabel: the data attack.

    Returns:
      - initialise(key) -> State, cut from the start, so that no device ever holds all of it.
      - advance(state, hyperparameters, data, key, first_step, num_steps) -> (State, Metrics of
        leaves (num_steps,)), where the state is donated. It evaluates nothing; the simulator's
        `finish` tells the accuracy of a state.

    Raises:
      ValueError: `participants`, local steps or variance reduction are given, or workers in turns
        are no multiple of the devices.
    """
    if config.workers_at_once is not None and config.computing % mesh.size:
        raise ValueError(
            f"with workers_at_once={config.workers_at_once} the workers that compute must be a "
            f"multiple of the {mesh.size} devices, got {config.computing}"
        )
    if config.participants is not None:
        raise ValueError(
            "over a mesh all workers take part: participants must be None, "
            f"got {config.participants}"
        )
    if config.local_steps > 1 or config.variance_reduction:
        raise ValueError(
            "over a mesh a step takes one gradient a worker, got "
            f"local_steps={config.local_steps}, variance_reduction={config.variance_reduction}"
        )
    template, _ = jax.eval_shape(task.initialise, jax.random.key(0))
    unravel = unraveller(template)
    gradients = make_gradients(config, task, unravel, relabel)

    def place(value: PyTree, *axes: str | None) -> PyTree:
        where = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, where), value)

    def advance(
        state: State,
        hyperparameters: Hyperparameters,
        data: PyTree,
        key: jax.Array,
        first_step: jax.Array,
        num_steps: int,
    ) -> tuple[State, Metrics]:
        batches = place(draw_batches(config, task, data, key, first_step, num_steps))
        cut = shardings_of(state, mesh)

        def take(point: jax.Array, round: Round) -> Sent:
            point = place(point) if point.ndim == 1 else place(point, SHARD)
            sent = gradients(point, round._replace(batch=place(round.batch, SHARD)))
            rows = place(place(sent.vectors, SHARD), None, SHARD)
            return sent._replace(vectors=rows, sampled=rows, losses=place(sent.losses))

        def one(state: State, inputs: tuple[jax.Array, PyTree]) -> tuple[State, Metrics]:
            step, batch = inputs
            round = simulator.round(state, hyperparameters, key, step)
            state, metrics = simulator.step(state, round._replace(data=data, batch=batch), take)
            return jax.lax.with_sharding_constraint(state, cut), metrics

        return jax.lax.scan(one, state, (first_step + jnp.arange(num_steps), batches))

    def in_mesh(*arguments: Any) -> tuple[State, Metrics]:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return advance(*arguments)

    cut = shardings_of(jax.eval_shape(simulator.initialise, jax.random.key(0)), mesh)
    return Sharded(
        initialise=jax.jit(simulator.initialise, out_shardings=cut),
        advance=jax.jit(in_mesh, static_argnums=5, donate_argnums=0),
    )
