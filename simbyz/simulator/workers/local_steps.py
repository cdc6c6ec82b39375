"""Local steps, as in federated averaging: workers move by themselves before they send.

In a round each worker starts from the server's θ and takes k steps on batches of its own:

    g   = gradient at y, regularised, then clipped
    m_i = decay m_i + gain g             its momentum, carried from round to round; without: m_i = g
    y   = y - local learning rate · m_i

It sends (θ - y) / local learning rate, which is the sum of its k vectors m_i: the difference of the
models in units of a gradient. All that follows (momentum at the server, attack, rule, momentum at
the update, optimiser) is as without local steps, and one local step is distributed SGD. With the
local learning rate equal to the server's, the average of the sent vectors takes θ to the average of
the models.

This is federated averaging (McMahan et al., Communication-efficient learning of deep networks from
decentralized data, AISTATS 2017) with momentum at the workers.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from simbyz.simulator.config import Config, Hyperparameters
from simbyz.simulator.state import Last
from simbyz.simulator.workers.sending import Sent, send
from simbyz.simulator.workers.variance_reduction import reduced

PyTree = Any


def local_rate(config: Config, hyperparameters: Hyperparameters) -> jax.Array | float:
    """The local learning rate before the schedule's factor; by default that of the server.

    Raises:
      ValueError: one is given and there are no local steps to take by it.
    """
    own = hyperparameters.local_learning_rate
    if own is not None and config.local_steps == 1:
        raise ValueError(
            "local_learning_rate needs Config(local_steps=...) of 2 or more: with one local step "
            "nothing depends on it"
        )
    return hyperparameters.learning_rate if own is None else own


def local_round(
    config: Config,
    gradients: Callable[..., tuple[jax.Array, jax.Array, PyTree]],
    hyperparameters: Hyperparameters,
    *,
    start: jax.Array,
    momenta: jax.Array | None,
    last: Last | None,
    model_state: PyTree,
    rate: jax.Array | float,
    ahead: bool,
    data: PyTree,
    key: jax.Array,
    step: jax.Array,
    batches: PyTree,
) -> tuple[Sent, jax.Array, PyTree, Last | None]:
    """The local steps of one round, of all w workers that compute.

    Args:
      config, hyperparameters: of the run.
      gradients: of `make_gradients`.
      start: (d,), where the first gradients are taken.
      momenta: (w, d) as their last rounds left them, or None.
      last: likewise, for variance reduction, or None.
      model_state: at the start.
      rate: the local learning rate.
      ahead: whether gradients are taken where a worker's momentum is about to lead (Nesterov).
      data, key, step: of the simulator; `step` counts rounds.
      batches: leaves (k, w, ...).

    Returns:
      What the workers send, sampled and vectors summed over the local steps; the losses (w,) of the
      first local step; the model state, averaged after each local step; and `last`.
    """
    zeros = jnp.zeros((config.rounds[0].computing, start.size), start.dtype)

    def one(carry: tuple, inputs: tuple[jax.Array, PyTree]) -> tuple[tuple, jax.Array]:
        sums, momenta, last, model_state = carry
        number, batch = inputs
        at = start[None] - rate * sums[1]
        if ahead and momenta is not None:
            at = at - rate * hyperparameters.worker.decay * momenta
        local_step = step * config.local_steps + number
        given = (hyperparameters.l2, model_state, data, key, local_step, batch, step)
        if last is None:
            rows, losses, model_state = gradients(at, *given)
            sampled, vectors, momenta = send(hyperparameters, rows, momenta)
        else:
            sent, losses, model_state, last = reduced(
                lambda point: gradients(point, *given),
                hyperparameters,
                momenta,
                at,
                last,
                local_step,
            )
            sampled, vectors, momenta = sent
        return ((sums[0] + sampled, sums[1] + vectors), momenta, last, model_state), losses

    carried = ((zeros, zeros), momenta, last, model_state)
    (sums, momenta, last, model_state), losses = jax.lax.scan(
        one, carried, (jnp.arange(config.local_steps), batches)
    )
    return Sent(*sums, momenta), losses[0], model_state, last
