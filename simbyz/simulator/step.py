"""Distributed SGD under Byzantine workers: the simulator.

One step, for h = n - num_byzantine honest workers of which each holds a batch:

    g_i = gradient of worker i, regularised, then clipped          (what is *sampled*)
    m_i = decay m_i + gain g_i                  momentum at the worker
    x_i = m_i + decay G                         momentum at the server, G the last aggregate
    B   = attack(x_1 ... x_h)                                      (what the Byzantine workers send)
    G   = rule(x_1 ... x_h, B)
    v   = decay v + gain G                      momentum at the update
    θ   = θ - learning rate · optimizer(v)

`Config` holds what shapes the program; `Hyperparameters` holds numbers that may be traced, hence
swept by `vmap`. Nothing here knows a particular rule, attack, model or data set: they are
callables. Nothing here knows of sweeps either: seeds and hyperparameters become batch axes from
outside.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from simbyz._arrays.calling import asks_for
from simbyz._arrays.stacking import unraveller
from simbyz.aggregators.base import Rule, StatefulRule
from simbyz.attacks.base import Attack, StatefulAttack, sending
from simbyz.simulator.attackers import Identities, Received, receive
from simbyz.simulator.certificates import CERTIFICATES
from simbyz.simulator.config import Config, Hyperparameters, Momentum
from simbyz.simulator.keys import ATTACK, EVALUATE, INITIALISE, RULE, of_step
from simbyz.simulator.metrics import Metrics, no_past, remember
from simbyz.simulator.optimizer import as_direction
from simbyz.simulator.participation import Participants, batches_in_a_step, in_rounds, participants
from simbyz.simulator.server import defend
from simbyz.simulator.server import start as start_of_rule
from simbyz.simulator.state import Simulator, State
from simbyz.simulator.step_metrics import STUDIED, tell
from simbyz.simulator.weighting import Weighting, check, masses_of
from simbyz.simulator.workers.gradients import Relabel, draw_batches, make_gradients
from simbyz.simulator.workers.local_steps import local_rate
from simbyz.simulator.workers.sending import Sent, send
from simbyz.simulator.workers.take import points_of, take
from simbyz.simulator.workers.variance_reduction import of_rows, put_back
from simbyz.simulator.workers.variance_reduction import start as start_of_reduction
from simbyz.tasks.task import Task

__all__ = ["Config", "Hyperparameters", "Momentum", "Simulator", "State", "make_simulator"]

PyTree = Any


Schedule = Callable[..., jax.Array | float]


def make_simulator(
    config: Config,
    task: Task,
    rule: Rule | StatefulRule,
    attack: Attack | StatefulAttack | None,
    *,
    relabel: Relabel | None = None,
    selection: Rule | None = None,
    schedule: Schedule = lambda step: 1.0,
    optimizer: optax.GradientTransformation | None = None,
    weights: Weighting | None = None,
) -> Simulator:
    """The simulator of one configuration.

    Args:
      config: what shapes the program.
      task: model and data.
      rule: ((n, d), f) -> (d,), with a `key` if it asks for one; or a `StatefulRule`.
      attack: (key, (h, d), num_byzantine, **Hyperparameters.attack) -> (num_byzantine, d), with
        `own`, if it takes that, where Byzantine workers compute gradients; or a `StatefulAttack`.
        None without attackers, or where they send what they computed.
      relabel: a data attack, labels of a Byzantine worker's batch -> labels; needs
        `Config.byzantine_gradients`.
      selection: ((n, d), f) -> (n,) weights of the rows in the rule's result, for the acceptance
        ratio.
      schedule: (step, **Hyperparameters.schedule) -> factor of the learning rate.
      optimizer: what the server does with the momentum at the update before it multiplies by the
        learning rate: any optax transformation or optimiser, see `simbyz.simulator.optimizer`;
        nothing if None.
      weights: how much each worker counts, for a rule with masses; see
        `simbyz.simulator.weighting`.

    Returns:
      - initialise(key) -> State.
      - start(parameters, model_state) -> State, from given parameters (d,).
      - advance(state, hyperparameters, data, key, first_step, num_steps, look_ahead=True) ->
        (State, Metrics of leaves (num_steps,)); `num_steps` is static, `look_ahead` False for a
        run without Nesterov in a program with it.
      - finish(state, data, key, step) -> Metrics after the last step, NaN where that takes another.
      - points(state, hyperparameters, step) -> where gradients are taken: (d,), or (w, d) where the
        workers' own momenta look ahead, w the workers that compute: h, or n where all do. Of local
        steps the first, before their own momenta lead on.
      - apply(state, hyperparameters, key, step, gradients, losses, accuracy) -> (State, Metrics):
        the step from the (w, d) regularised gradients on; not with local steps or variance
        reduction, which take several.

    Raises:
      ValueError: attackers without an attack, an attack that needs honest rows where a step may
        have none, a data attack without gradients to act on, or weights for a rule that takes none.
        A rule that refuses (n, f) says so when traced.
    """
    if attack is None and config.byzantine and not config.byzantine_gradients:
        raise ValueError(
            f"{config.byzantine} Byzantine workers need an attack, or byzantine_gradients to send, "
            "got None"
        )
    fewest = config.rounds[-1].honest
    if attack is not None and fewest == 0 and not asks_for(sending(attack), "own"):
        raise ValueError(
            "an attack is made of what honest workers send, of whom a step may have none here: "
            "give one that takes `own`, or None to send what was computed, or more participants"
        )
    if relabel is not None and not config.byzantine_gradients:
        raise ValueError("relabel needs Config(byzantine_gradients=True)")
    check(config, rule, weights)
    memory = attack if isinstance(attack, StatefulAttack) else None
    optimizer = as_direction(optimizer)
    template, _ = jax.eval_shape(task.initialise, jax.eval_shape(jax.random.key, 0))
    dimension = sum(leaf.size for leaf in jax.tree.leaves(template))
    unravel = unraveller(template)
    partial, computing = config.participants is not None, config.rounds[0].computing
    gradients = make_gradients(config, task, unravel, relabel)

    def initialise(key: jax.Array) -> State:
        parameters, model_state = task.initialise(jax.random.fold_in(key, INITIALISE))
        parameters, _ = ravel_pytree(parameters)
        return start(parameters, model_state)

    def start(parameters: jax.Array, model_state: PyTree) -> State:
        zero = jnp.zeros_like(parameters)
        at = config.momentum_at
        return State(
            parameters=parameters,
            start=parameters,
            model_state=model_state,
            worker_momenta=jnp.zeros((config.computing, dimension)) if "worker" in at else None,
            update_momentum=zero if "update" in at else None,
            aggregate=zero if "server" in at else None,
            optimizer=optimizer.init(parameters),
            past=no_past(dimension, config.curvature_window) if config.study else None,
            attack=None if memory is None else memory.start(dimension),
            rule=start_of_rule(rule, zero),
            last=start_of_reduction(config, parameters),
        )

    def momenta_of(state: State, part: Participants) -> jax.Array | None:
        momenta = state.worker_momenta
        return momenta[part.workers[:computing]] if partial and momenta is not None else momenta

    def points(state: State, hyperparameters: Hyperparameters, step: jax.Array) -> jax.Array:
        rate = hyperparameters.learning_rate * schedule(step, **hyperparameters.schedule)
        return points_of(config, state, hyperparameters, rate)

    def apply(
        state: State,
        hyperparameters: Hyperparameters,
        key: jax.Array,
        step: jax.Array,
        gradients: jax.Array,
        losses: jax.Array,
        accuracy: jax.Array | float = jnp.nan,
    ) -> tuple[State, Metrics]:
        if config.local_steps > 1 or config.variance_reduction:
            raise ValueError(
                "apply takes one gradient a worker, got "
                f"local_steps={config.local_steps}, variance_reduction={config.variance_reduction}"
            )
        part = participants(config, key, step)
        sent = send(hyperparameters, gradients, momenta_of(state, part))
        return settle(state, hyperparameters, key, step, part, sent, losses, accuracy)

    def settle(
        state: State,
        hyperparameters: Hyperparameters,
        key: jax.Array,
        step: jax.Array,
        part: Participants,
        sent: Sent,
        losses: jax.Array,
        accuracy: jax.Array | float,
    ) -> tuple[State, Metrics]:
        sampled, vectors, worker_momenta = sent
        worker, update, server = (
            hyperparameters.worker,
            hyperparameters.update,
            hyperparameters.server,
        )
        if state.aggregate is not None:
            vectors = server.gain * vectors + server.decay * state.aggregate[None]

        def arrive(one: Config, who: Identities) -> Received:
            attack_key, options = of_step(key, ATTACK, step), hyperparameters.attack
            received = receive(one, attack, attack_key, vectors, who, state.attack, options)
            if config.chance:  # of one shape in all rounds: the stack and places tell the rest
                received = received._replace(honest=received.stack, byzantine=received.stack)
            return received

        received = in_rounds(config, part, arrive)
        rule_key = of_step(key, RULE, step)
        masses = None if weights is None else masses_of(config, weights, part.identities)
        if masses is not None and partial:
            masses = masses[part.workers]
        aggregate, shares, rule_state = defend(
            rule, selection, received.stack, config.f, rule_key, state.rule, masses
        )

        applied, update_momentum = aggregate, None
        if state.update_momentum is not None:
            applied = update_momentum = (
                update.decay * state.update_momentum + update.gain * aggregate
            )
        direction, optimizer_state = optimizer.update(applied, state.optimizer, state.parameters)
        direction = direction + hyperparameters.weight_decay * state.parameters
        rate = hyperparameters.learning_rate * schedule(step, **hyperparameters.schedule)

        decay = worker.decay + update.decay + server.decay  # one place at a time

        columns, sampled_mean = tell(
            config,
            part,
            received,
            step=step,
            sampled=sampled,
            losses=losses,
            aggregate=aggregate,
            past=state.past,
            momentum=decay,
            weights=shares,
        )
        metrics = describe(state, step, accuracy)._replace(**columns)
        if partial and worker_momenta is not None and state.worker_momenta is not None:
            worker_momenta = state.worker_momenta.at[part.workers[:computing]].set(worker_momenta)
        return State(
            parameters=optax.apply_updates(state.parameters, -rate * direction),
            start=state.start,
            model_state=state.model_state,
            worker_momenta=worker_momenta,
            update_momentum=update_momentum,
            aggregate=None if state.aggregate is None else aggregate,
            optimizer=optimizer_state,
            past=(
                remember(state.past, sampled_mean, decay)
                if state.past is not None and sampled_mean is not None
                else None
            ),
            attack=None if memory is None else memory.learn(received.attack, aggregate),
            rule=rule_state,
            last=state.last,
        ), metrics

    def describe(state: State, step: jax.Array, accuracy: jax.Array | float) -> Metrics:
        nothing = dict.fromkeys(Metrics._fields, jnp.float32(jnp.nan))
        if not config.certify:
            nothing |= dict.fromkeys(CERTIFICATES)
        if not config.study:
            nothing |= dict.fromkeys(STUDIED)
        known = {
            "step": step,
            "training_points": step * batches_in_a_step(config) * task.batch_size,
            "distance_from_start": jnp.linalg.norm(state.parameters - state.start),
            "accuracy": jnp.asarray(accuracy, jnp.float32),
        }
        return Metrics(**nothing | known)

    def evaluate(state: State, data: PyTree, key: jax.Array, step: jax.Array) -> jax.Array:
        key = of_step(key, EVALUATE, step)
        return task.accuracy(data, unravel(state.parameters), state.model_state, key)

    def finish(state: State, data: PyTree, key: jax.Array, step: jax.Array) -> Metrics:
        return describe(state, step, evaluate(state, data, key, step))

    def advance(
        state: State,
        hyperparameters: Hyperparameters,
        data: PyTree,
        key: jax.Array,
        first_step: jax.Array,
        num_steps: int,
        look_ahead: jax.Array | bool = True,
    ) -> tuple[State, Metrics]:
        k, rate = config.local_steps, local_rate(config, hyperparameters)
        batches = draw_batches(config, task, data, key, first_step * k, num_steps * k)
        if k > 1:
            batches = jax.tree.map(
                lambda leaf: leaf.reshape(num_steps, k, *leaf.shape[1:]), batches
            )

        def one(state: State, inputs: tuple[jax.Array, PyTree]) -> tuple[State, Metrics]:
            step, batch = inputs
            # `step` and `look_ahead` are not batched in a sweep, so that these stay branches.
            accuracy: jax.Array | float = jnp.nan
            if config.evaluate_every is not None:
                accuracy = jax.lax.cond(
                    step % config.evaluate_every == 0,
                    lambda: evaluate(state, data, key, step),
                    lambda: jnp.float32(jnp.nan),
                )

            part = participants(config, key, step)
            momenta, rows = momenta_of(state, part), None
            if partial:
                rows = part.workers[:computing]
                axis = int(k > 1)
                batch = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=axis), batch)

            def taken(ahead: bool) -> tuple[Any, jax.Array, PyTree, PyTree]:
                at = points(state, hyperparameters, step) if ahead else state.parameters
                if rows is not None and at.ndim == 2:
                    at = at[rows]
                return take(
                    config,
                    gradients,
                    hyperparameters,
                    state,
                    at=at,
                    ahead=ahead,
                    local_rate=rate * schedule(step, **hyperparameters.schedule),
                    momenta=momenta,
                    last=of_rows(state.last, rows),
                    data=data,
                    key=key,
                    step=step,
                    batch=batch,
                )

            branches = config.nesterov and look_ahead is not True
            made, losses, model_state, last = (
                jax.lax.cond(look_ahead, lambda: taken(True), lambda: taken(False))
                if branches
                else taken(True)
            )
            made_sent = k > 1 or config.variance_reduction
            sent = made if made_sent else send(hyperparameters, made, momenta)
            state, metrics = settle(state, hyperparameters, key, step, part, sent, losses, accuracy)
            last = put_back(state.last, last, rows)
            return state._replace(model_state=model_state, last=last), metrics

        return jax.lax.scan(one, state, (first_step + jnp.arange(num_steps), batches))

    return Simulator(initialise, start, advance, finish, points, apply)
