"""The first half of a step: where the workers take their gradients, and what they make of them."""

from collections.abc import Callable
from typing import Any

import jax

from simbyz.simulator.config import Config, Hyperparameters
from simbyz.simulator.state import Last, State
from simbyz.simulator.workers.local_steps import local_round
from simbyz.simulator.workers.sending import Sent
from simbyz.simulator.workers.variance_reduction import reduced

PyTree = Any


def points_of(
    config: Config, state: State, hyperparameters: Hyperparameters, rate: jax.typing.ArrayLike
) -> jax.Array:
    """Where the gradients of a step with this learning rate are taken: (d,), or (w, d) where the
    w computing workers' own momenta look ahead.
    """
    point = state.parameters
    if not config.nesterov:
        return point
    if state.update_momentum is not None:
        point = point - rate * hyperparameters.update.decay * state.update_momentum
    if state.aggregate is not None:
        point = point - rate * hyperparameters.server.decay * state.aggregate
    if state.worker_momenta is not None and config.local_steps == 1:
        point = point[None] - rate * hyperparameters.worker.decay * state.worker_momenta
    return point


def take(
    config: Config,
    gradients: Callable[..., tuple[jax.Array, jax.Array, PyTree]],
    hyperparameters: Hyperparameters,
    state: State,
    *,
    at: jax.Array,
    ahead: bool,
    local_rate: jax.Array | float,
    momenta: jax.Array | None,
    last: Last | None,
    data: PyTree,
    key: jax.Array,
    step: jax.Array,
    batch: PyTree,
) -> tuple[jax.Array | Sent, jax.Array, PyTree, Last | None]:
    """What the w workers that take part make of their batches.

    Args:
      config, hyperparameters: of the run.
      gradients: of `make_gradients`.
      state: before the step.
      at: (d,) or (w, d), of `points_of`.
      ahead: whether local steps look ahead (Nesterov).
      local_rate: the learning rate of local steps, the schedule's factor included.
      momenta: (w, d) of these workers, or None.
      last: of these workers, for variance reduction, or None.
      data, key, step: of the simulator.
      batch: leaves (w, ...), or (k, w, ...) for k > 1 local steps.

    Returns:
      The regularised gradients (w, d); after local steps, and with variance reduction, what is
      sent. The losses (w,), the model state, and `last` for their next step.
    """
    if config.local_steps > 1:
        return local_round(
            config,
            gradients,
            hyperparameters,
            start=at,
            momenta=momenta,
            last=last,
            model_state=state.model_state,
            rate=local_rate,
            ahead=ahead and config.nesterov,
            data=data,
            key=key,
            step=step,
            batches=batch,
        )
    given = (hyperparameters.l2, state.model_state, data, key, step, batch)
    if last is not None:
        return reduced(
            lambda point: gradients(point, *given), hyperparameters, momenta, at, last, step
        )
    return *gradients(at, *given), None
