"""Momentum variance reduction (MVR, STORM): momentum that goes along with the gradient it averages.

    m_t = g(θ_t; ξ_t) + μ (m_{t-1} - g(θ_{t-1}; ξ_t))

Both gradients are of the same batch ξ_t, at the parameters of this step and of the last one: their
difference carries the old average to where the parameters are now, so that its error comes from
noise alone, not from lag, and shrinks with the steps taken. Before a worker's first gradient m and
g(θ_{t-1}) are 0.

The simulator's momentum is m ← decay · m + gain · g, a plain sum by default, of which the above
has gain = 1 - decay. For any gain it is that estimate times gain / (1 - decay), as plain momentum
is times the average that it keeps:

    m_t = decay · m_{t-1} + gain · (g_t + decay / (1 - decay) · (g_t - g(θ_{t-1}; ξ_t)))

That is plain momentum of a corrected gradient, which the worker makes: so it may be gathered at any
place. At the update or the server, the server's sum is the estimate, of what the rule makes of the
corrected gradients.

What θ_{t-1} is: where the gradients behind the momentum were last taken. With Nesterov that is the
point that looked ahead. Momentum at a worker is of where that worker was: one that was absent keeps
its momentum and its last point, and makes up for the whole way since when it comes back; local
steps correct each by the one before it, and the first of a round by the last of the worker's last
round, from which it was called back. Momentum at the update or the server is of the last step,
whoever took part in it.

Reference: Cutkosky and Orabona, Momentum-based variance reduction in non-convex SGD, NeurIPS 2019;
  Karimireddy et al., Learning from history for Byzantine robust optimization, ICML 2021, hold
  momentum at the workers against attacks; Khanduri et al., STEM, NeurIPS 2021, take local
  steps along such directions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz.simulator.config import Config, the_decay
from simbyz.simulator.participation import Round
from simbyz.simulator.workers.sender import Sender, Sent, Shared, Take


class Last(NamedTuple):
    """Where each worker's last gradient was taken, or all of them took theirs."""

    points: jax.Array  # (w, d), or (d,) of all
    met: jax.Array  # (w,) which of these workers took one yet, or () whether all did


def variance_reduction(config: Config, *, apart: bool = False) -> Sender:
    """Corrected gradients, of which momentum at any place makes the estimate. It stands after
    clipping, so that the clip bounds both gradients, and before momentum.

    apart: each worker has parameters of its own.

    Raises:
      ValueError: when traced, workers asked for gradients each at a point of its own, where one
        point is kept for all.
    """
    apart |= config.nesterov or config.local_steps > 1 or config.participants is not None

    def init(parameters: jax.Array, workers: int) -> Last | Shared[Last]:
        if not apart or "worker" not in config.momentum_at:
            # All were where the last step took its gradients.
            return Shared(Last(parameters, jnp.zeros((), bool)))
        points = jnp.broadcast_to(parameters, (workers, *parameters.shape))
        return Last(points, jnp.zeros(workers, bool))

    def send(
        take: Take, point: jax.Array, last: Last | Shared[Last], round: Round
    ) -> tuple[Sent, Last | Shared[Last]]:
        shared = isinstance(last, Shared)
        before, met = last.value if isinstance(last, Shared) else last
        if shared and point.ndim > 1:
            raise ValueError(
                "variance_reduction keeps one last point for all workers here, and a sender asks "
                "for each worker's gradient at a point of its own, as corrected_average does: "
                "leave one of both out"
            )
        points = jnp.stack(jnp.broadcast_arrays(point, before))
        both = jax.vmap(lambda point: take(point, round))(points)
        now, then = jax.tree.map(lambda leaf: leaf[0], both), both.vectors[1]
        first = ~met if shared else ~met[:, None]
        change = jnp.where(first, now.vectors, now.vectors - then)
        decay = the_decay(round.hyperparameters)
        corrected = now.vectors + decay / (1 - decay) * change
        kept = Last(points[0], jnp.ones_like(met))
        return now._replace(vectors=corrected), Shared(kept) if shared else kept

    return Sender(init, send)
