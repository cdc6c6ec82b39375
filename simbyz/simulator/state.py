"""State: all that a run carries from step to step, and the functions that carry it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from simbyz._arrays.checks import random_key, reached, require_shape
from simbyz._arrays.stacking import PyTree
from simbyz.simulator.config import Config, Hyperparameters, agree
from simbyz.simulator.keys import INITIALISE
from simbyz.simulator.metrics import Metrics, Past
from simbyz.simulator.participation import Round, Schedule, batches_in_a_step, participants
from simbyz.simulator.server import Memory
from simbyz.simulator.workers.gradients import draw_batches
from simbyz.simulator.workers.sender import Take, sent_as_it_is
from simbyz.tasks.task import Task


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


class Parts(NamedTuple):
    """What a kind of run does in its own way, with a server or without one."""

    start: Callable[[jax.Array, PyTree], Any]
    # state -> the last aggregate (d,), which the server sends around; None if it doesn't
    aggregate: Callable[[Any], Any]
    # (state, round, take, *evaluated) -> the state after the step, and its columns
    step: Callable[..., tuple[Any, Metrics]]
    # (state, data, key, step) -> what `step` is told of the state
    evaluate: Callable[..., tuple[Any, ...]]
    unevaluated: tuple[Any, ...]  # the same where a step is not evaluated
    finish: Callable[..., Metrics]
    ahead: Callable[[Any, Round], jax.Array]  # where momentum leads from a state (Nesterov)


def simulator_of(
    parts: Parts,
    config: Config,
    task: Task,
    schedule: Schedule,
    take: Take,
    unravel: Callable[[jax.Array], PyTree],
    shape: tuple[int, int],
) -> Simulator:
    """The simulator of a kind of run: its steps in a loop, or one of gradients that are given.

    Args:
      config, task: of the workers.
      schedule: of the learning rate.
      take: their gradients.
      shape: of those gradients, (w, d).
    """

    def initialise(key: jax.Array) -> Any:
        random_key("a run", key)
        parameters, model_state = task.initialise(jax.random.fold_in(key, INITIALISE))
        return parts.start(ravel_pytree(parameters)[0], model_state)

    def round(
        state: Any,
        hyperparameters: Hyperparameters,
        key: jax.Array,
        step: jax.Array,
        look_ahead: jax.Array | bool = True,
    ) -> Round:
        """Without data and batches.

        Raises:
          TypeError: the key is none.
          ValueError: `agree`'s, or a schedule that gives no factor.
        """
        random_key("a run", key)
        agree(config, hyperparameters)
        rate, local = hyperparameters.learning_rate, hyperparameters.local_learning_rate
        factor = schedule(step, **hyperparameters.schedule)
        require_shape("the schedule", factor, (), "a factor")
        return Round(
            hyperparameters=hyperparameters,
            key=key,
            step=step,
            turn=step,
            part=participants(config, key, step),
            rate=rate * factor,
            local_rate=(rate if local is None else local) * factor,
            ahead=config.nesterov and look_ahead,
            aggregate=parts.aggregate(state),
            model_state=state.model_state,
        )

    def points(state: Any, hyperparameters: Hyperparameters, step: jax.Array) -> jax.Array:
        if not config.nesterov:
            return state.parameters
        # The key decides who takes part: this is of all who ever do.
        return parts.ahead(state, round(state, hyperparameters, jax.random.key(0), step))

    def apply(
        state: Any,
        hyperparameters: Hyperparameters,
        key: jax.Array,
        step: jax.Array,
        gradients: jax.Array,
        losses: jax.Array,
        accuracy: jax.Array | float = jnp.nan,
    ) -> tuple[Any, Metrics]:
        if config.local_steps > 1 or config.variance_reduction:
            raise ValueError(
                "apply takes one gradient a worker, got "
                f"local_steps={config.local_steps}, variance_reduction={config.variance_reduction}"
            )
        now = round(state, hyperparameters, key, step)
        given = sent_as_it_is(gradients, losses, now.model_state, shape)
        return parts.step(state, now, lambda point, round: given, accuracy)

    def advance(
        state: Any,
        hyperparameters: Hyperparameters,
        data: PyTree,
        key: jax.Array,
        first_step: jax.Array,
        num_steps: int,
        look_ahead: jax.Array | bool = True,
    ) -> tuple[Any, Metrics]:
        batches = draw_batches(config, task, data, key, first_step, num_steps)

        def one(state: Any, inputs: tuple[jax.Array, PyTree]) -> tuple[Any, Metrics]:
            step, batch = inputs
            told = parts.unevaluated
            if config.evaluate_every is not None:
                # `step` is not batched in a sweep, so that this stays a branch.
                told = jax.lax.cond(
                    step % reached("evaluate_every", config.evaluate_every) == 0,
                    lambda: parts.evaluate(state, data, key, step),
                    lambda: told,
                )
            now = round(state, hyperparameters, key, step, look_ahead)
            return parts.step(state, now._replace(data=data, batch=batch), take, *told)

        return jax.lax.scan(one, state, (first_step + jnp.arange(num_steps), batches))

    return Simulator(
        initialise=initialise,
        start=parts.start,
        advance=advance,
        finish=parts.finish,
        points=points,
        apply=apply,
        round=round,
        step=parts.step,
        unravel=unravel,
        check=functools.partial(agree, config),
        points_in_a_step=batches_in_a_step(config) * task.batch_size,
    )
