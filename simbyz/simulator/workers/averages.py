"""Running averages of each worker's vectors, and of its gradients' changes."""

import jax
import jax.numpy as jnp

from simbyz._arrays.stacking import PyTree
from simbyz.simulator.participation import Round
from simbyz.simulator.workers.sender import Sender, Sent, Take, in_unit, zero_vectors
from simbyz.simulator.workers.variance_reduction import Last


def average(weight: float | jax.Array) -> Sender:
    """v_i ← (1 - weight) v_i + weight · x_i, from 0, of which v_i is sent: momentum of one setting
    more than `Config.momentum_at` has, wherever it stands in a chain. After a compressor it is what
    the server remembers of each worker.

    Raises:
      ValueError: a weight out of (0, 1].

    Reference: Karimireddy, He and Jaggi, Learning from history for Byzantine robust optimization,
      ICML 2021, have it at the workers, from their first gradient.
    """
    in_unit("weight", weight)

    def send(take: Take, point: jax.Array, memory: PyTree, round: Round) -> tuple[Sent, PyTree]:
        sent = take(point, round)
        kept = (1 - weight) * memory + weight * sent.vectors
        return sent._replace(vectors=kept), kept

    return Sender(zero_vectors, send)


def corrected_average(weight: float | jax.Array) -> Sender:
    """v_i ← g_i(θ_t) + (1 - weight) (v_i - g_i(θ_{t-1})), both of the same batch (STORM): an
    average whose past is carried along to where the parameters are. A worker's θ_{t-1} is where it
    took its last gradient; in its first step v_i = weight · g_i, as of an average from 0.

    Raises:
      ValueError: a weight out of (0, 1]; when traced, a step without batches, as `apply` makes.

    Cost: two gradients a step, and a point (d,) a worker.

    Reference: Cutkosky and Orabona, NeurIPS 2019; `Config.variance_reduction` is the same with its
      average in `Hyperparameters`.
    """
    in_unit("weight", weight)

    def init(parameters: jax.Array, workers: int) -> tuple[jax.Array, Last]:
        points = jnp.broadcast_to(parameters, (workers, parameters.size))
        return jnp.zeros_like(points), Last(points, jnp.zeros(workers, bool))

    def send(take: Take, point: jax.Array, memory: PyTree, round: Round) -> tuple[Sent, PyTree]:
        if round.data is None:
            raise ValueError("corrected_average takes two gradients of a batch, apply is given one")
        before, (last, met) = memory
        points = jnp.stack(jnp.broadcast_arrays(point, last))
        both = jax.vmap(lambda point: take(point, round._replace(twice=True)))(points)
        sent, then = jax.tree.map(lambda leaf: leaf[0], both), both.vectors[1]
        carried = (1 - weight) * (before - then) + sent.vectors
        kept = jnp.where(met[:, None], carried, weight * sent.vectors)
        return sent._replace(vectors=kept), (kept, Last(points[0], jnp.ones_like(met)))

    return Sender(init, send)
