"""One run over many devices: each holds some of the honest nodes, with their parameters, momenta
and batches, and computes their gradients and what meets at them.

What the devices send in an exchange is the vectors (h, d), all-gathered. So memory falls as 1 / D
but for that one copy of them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from simbyz._arrays.checks import require_devices
from simbyz._arrays.stacking import PyTree
from simbyz.simulator import Simulator
from simbyz.simulator.metrics import Metrics

# The axis of a mesh over which nodes are cut.
NODES = "nodes"


class Sharded(NamedTuple):
    """The compiled functions of one run over devices, as the simulator's own."""

    initialise: Callable[[jax.Array], Any]
    advance: Callable[..., tuple[Any, Metrics]]


def shard(simulator: Simulator, devices: Sequence[jax.Device]) -> Sharded:
    """One run without a server, its nodes cut over devices.

    Args:
      simulator: of `make_gossip`.
      devices: that share the honest nodes, of whom each has as many.

    Returns:
      - initialise(key) -> GossipState, cut from the start.
      - advance(state, hyperparameters, data, key, first_step, num_steps) -> (GossipState, Metrics),
        where the state is donated.

    Raises:
      TypeError: something else than a device among them.
      ValueError: no device, or one twice; the honest nodes can't be cut into equal parts.
    """
    mesh = Mesh(np.array(require_devices(devices)), (NODES,), axis_types=(AxisType.Auto,))
    shapes = jax.eval_shape(simulator.initialise, jax.eval_shape(jax.random.key, 0))
    h = shapes.parameters.shape[0]
    if h % mesh.size:
        raise ValueError(f"h = {h} honest nodes can't be cut among {mesh.size} devices")

    def of(leaf: Any) -> NamedSharding:
        cut = PartitionSpec(NODES) if leaf.ndim and leaf.shape[0] == h else PartitionSpec()
        return NamedSharding(mesh, cut)

    where = jax.tree.map(of, shapes)

    def in_mesh(*arguments: Any) -> tuple[Any, Metrics]:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return simulator.advance(*arguments)

    return Sharded(
        initialise=jax.jit(simulator.initialise, out_shardings=where),
        advance=jax.jit(in_mesh, static_argnums=5, donate_argnums=0, out_shardings=(where, None)),
    )


def mapped(function: Callable[[Any], Any], each: PyTree) -> Any:
    """`vmap` of a function of nodes, leaves (m, ...), cut over the devices of a mesh.

    Where m can't be divided among them, some nodes are computed twice.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if NODES not in mesh.auto_axes:
        return jax.vmap(function)(each)
    m = len(jax.tree.leaves(each)[0])
    places = np.arange(m + -m % mesh.shape[NODES]) % m
    if len(places) > m:
        each = jax.tree.map(lambda leaf: leaf[places], each)
    made = _cut(jax.vmap(function)(_cut(each)))
    return jax.tree.map(lambda leaf: leaf[:m], made)


def _cut(each: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf: jax.lax.with_sharding_constraint(leaf, PartitionSpec(NODES)), each
    )
