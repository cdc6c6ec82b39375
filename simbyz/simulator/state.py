"""State: all that a run carries from step to step, and the functions that carry it."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from simbyz._arrays.stacking import PyTree
from simbyz.simulator.config import Hyperparameters
from simbyz.simulator.metrics import Metrics, Past
from simbyz.simulator.participation import Round
from simbyz.simulator.server import Memory


class State(NamedTuple):
    """State of a run between two steps; parameters as one vector (d,). Each phase has its own
    memory.
    """

    parameters: jax.Array  # (d,)
    start: jax.Array  # (d,) the parameters at step 0
    model_state: PyTree  # running statistics of the model, if it has any
    senders: PyTree  # a memory a sender, such as momenta (w, d) of the w workers that compute
    attack: PyTree  # of a StatefulAttack
    rule: PyTree  # of a StatefulRule
    server: Memory
    past: Past | None  # of the study columns


class Simulator(NamedTuple):
    """The pure functions of a run; see `simbyz.simulator.make_simulator`."""

    initialise: Callable[[jax.Array], State]
    start: Callable[[jax.Array, PyTree], State]
    advance: Callable[..., tuple[State, Metrics]]
    finish: Callable[..., Metrics]
    points: Callable[..., jax.Array]
    apply: Callable[..., tuple[State, Metrics]]
    round: Callable[..., Round]
    step: Callable[..., tuple[State, Metrics]]
    unravel: Callable[[jax.Array], PyTree]  # parameters (d,) as the model's own
    # raises where hyperparameters that are not traced do not go with the configuration
    check: Callable[[Hyperparameters], None] = lambda hyperparameters: None
    points_in_a_step: int | float = 0  # training points of all honest workers; 0 if not known
