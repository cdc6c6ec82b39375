"""Momentum variance reduction (MVR, STORM): momentum that goes along with the gradient it averages.

    m_t = g(θ_t; ξ_t) + μ (m_{t-1} - g(θ_{t-1}; ξ_t))

Both gradients are of the same batch ξ_t, at the parameters of this step and of the last one: their
difference carries the old average to where the parameters are now, so that its error comes from
noise alone, not from lag, and shrinks with the steps taken. Before the first step m and g(θ_{-1})
are 0.

The simulator's momentum is m ← decay · m + gain · g, a plain sum by default, of which the above
has gain = 1 - decay. For any gain it is that estimate times gain / (1 - decay), as plain momentum
is times the average that it keeps:

    m_t = decay · m_{t-1} + gain · (g_t + decay / (1 - decay) · (g_t - g(θ_{t-1}; ξ_t)))

Reference: Cutkosky and Orabona, Momentum-based variance reduction in non-convex SGD, NeurIPS 2019;
  Karimireddy et al., Learning from history for Byzantine robust optimization, ICML 2021, hold
  momentum at the workers against attacks.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from simbyz.configuration import Hyperparameters
from simbyz.sending import Sent, send

PyTree = Any


def reduced(
    gradients: Callable[..., tuple[jax.Array, jax.Array, PyTree]],
    hyperparameters: Hyperparameters,
    momenta: jax.Array | None,
    points: jax.Array,
    l2: jax.Array | float,
    model_state: PyTree,
    data: PyTree,
    key: jax.Array,
    step: jax.Array,
    batches: PyTree,
) -> tuple[Sent, jax.Array, PyTree]:
    """What the workers send, their losses (w,), and the model state, as of this step's parameters.

    Args:
      gradients: of `make_gradients`; called once, over both points and all workers, with the same
        batches and keys.
      hyperparameters: of the run; `worker.decay` below 1. The clip bounds both gradients.
      momenta: (w, d), those of the last step.
      points: (2, d), the parameters of this step and of the last one.
      l2, model_state, data, key, step, batches: of `gradients`. In step 0 there is no last one.
    """
    (now, before), losses, model_states = jax.vmap(
        lambda at: gradients(at, l2, model_state, data, key, step, batches)
    )(points)
    sampled, vectors, kept = send(hyperparameters, now, momenta)
    before, *_ = send(hyperparameters, before, None)
    decay, gain = hyperparameters.worker
    change = jnp.where(step == 0, sampled, sampled - before)
    correction = gain * decay / (1 - decay) * change
    kept = None if kept is None else kept + correction
    first_state = jax.tree.map(lambda leaf: leaf[0], model_states)
    return Sent(sampled, vectors + correction, kept), losses[0], first_state
