"""What a run carries from step to step, and the functions that carry it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from simbyz.simulator.metrics import Metrics, Past

PyTree = Any


class Last(NamedTuple):
    """Where the gradients behind a momentum were last taken."""

    points: jax.Array  # (d,), or (w, d) where each worker has a point of its own
    met: jax.Array | None  # (w,) which of these workers took one yet; None where (d,)


class State(NamedTuple):
    """What a run carries from step to step; parameters as one vector (d,), h honest workers."""

    parameters: jax.Array  # (d,)
    start: jax.Array  # (d,) the parameters at step 0
    model_state: PyTree  # running statistics of the model, if it has any
    worker_momenta: jax.Array | None  # (h, d), or (n, d) where all compute
    update_momentum: jax.Array | None  # (d,)
    aggregate: jax.Array | None  # (d,) the last one, for momentum at the server
    optimizer: optax.OptState
    past: Past | None  # of the study columns
    attack: PyTree  # of a StatefulAttack
    rule: PyTree  # of a StatefulRule
    last: Last | None = None  # where gradients were last taken, for variance reduction


class Simulator(NamedTuple):
    """The pure functions of a run; see `training.make_simulator`."""

    initialise: Callable[[jax.Array], State]
    start: Callable[[jax.Array, PyTree], State]
    advance: Callable[..., tuple[State, Metrics]]
    finish: Callable[..., Metrics]
    points: Callable[..., jax.Array]
    apply: Callable[..., tuple[State, Metrics]]
