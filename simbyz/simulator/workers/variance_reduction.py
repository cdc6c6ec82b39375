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

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from simbyz.simulator.config import Config, Hyperparameters
from simbyz.simulator.state import Last
from simbyz.simulator.workers.sending import Sent, send

PyTree = Any


def start(config: Config, parameters: jax.Array) -> Last | None:
    """Before the first step, from its parameters (d,); None for a run without."""
    if not config.variance_reduction:
        return None
    own = config.nesterov or config.local_steps > 1 or config.participants is not None
    if not own or "worker" not in config.momentum_at:
        return Last(parameters, None)
    shape = (config.computing, *parameters.shape)
    return Last(jnp.broadcast_to(parameters, shape), jnp.zeros(config.computing, bool))


def of_rows(last: Last | None, rows: jax.Array | None) -> Last | None:
    """Those of some workers; of all if None."""
    if last is None or last.met is None or rows is None:
        return last
    return Last(last.points[rows], last.met[rows])


def put_back(last: Last | None, new: Last | None, rows: jax.Array | None) -> Last | None:
    """With the new ones of some workers; of all if None."""
    if last is None or new is None or last.met is None or new.met is None or rows is None:
        return new
    return Last(last.points.at[rows].set(new.points), last.met.at[rows].set(new.met))


def reduced(
    gradients: Callable[[jax.Array], tuple[jax.Array, jax.Array, PyTree]],
    hyperparameters: Hyperparameters,
    momenta: jax.Array | None,
    at: jax.Array,
    last: Last,
    step: jax.Array,
) -> tuple[Sent, jax.Array, PyTree, Last]:
    """What the w workers send, their losses (w,), the model state, both at `at`, and that point.

    Args:
      gradients: point -> gradients (w, d), losses and model state; called once, over both points,
        for the same batches and keys.
      hyperparameters: of the run; the decays' sum below 1. The clip bounds both gradients.
      momenta: (w, d), those of their last step, or None.
      at: (d,) or (w, d), where gradients are taken now.
      last: of these workers. Points (d,) are none in step 0.
      step: of the run.
    """
    points = jnp.stack(jnp.broadcast_arrays(at, last.points))
    (now, before), losses, model_states = jax.vmap(gradients)(points)
    sampled, vectors, kept = send(hyperparameters, now, momenta)
    before, *_ = send(hyperparameters, before, None)
    worker, update, server = (
        hyperparameters.worker,
        hyperparameters.update,
        hyperparameters.server,
    )
    decay = worker.decay + update.decay + server.decay  # one place at a time
    first = step == 0 if last.met is None else ~last.met[:, None]
    change = jnp.where(first, sampled, sampled - before)
    correction = worker.gain * decay / (1 - decay) * change
    kept = None if kept is None else kept + correction
    first_state = jax.tree.map(lambda leaf: leaf[0], model_states)
    met = None if last.met is None else jnp.ones_like(last.met)
    sent = Sent(sampled, vectors + correction, kept)
    return sent, losses[0], first_state, Last(points[0], met)
