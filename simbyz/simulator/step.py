"""Distributed SGD under Byzantine workers: the simulator.

One step, for h = n - num_byzantine honest workers of which each holds a batch:

    g_i = gradient of worker i, regularised, then clipped          (what is *sampled*)
    m_i = decay m_i + gain g_i                  momentum at the worker
    x_i = gain m_i + decay G                    momentum at the server, G the last aggregate
    B   = attack(x_1 ... x_h)                                      (what the Byzantine workers send)
    G   = rule(x_1 ... x_h, B)
    v   = decay v + gain G                      momentum at the update
    θ   = θ + learning rate · optimizer(v)      of plain SGD -v

`Config` holds what shapes the program; `Hyperparameters` holds numbers that may be traced, hence
swept by `vmap`. Nothing here knows a particular rule, attack, model or data set: they are
callables. Nothing here knows of sweeps either: seeds and hyperparameters become batch axes from
outside.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import optax

from simbyz._arrays.calling import require_taking
from simbyz._arrays.checks import require_shape
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import PyTree, in_types_of, unraveller
from simbyz.aggregators.base import Rule, StatefulRule
from simbyz.attacks.base import Attack, StatefulAttack, forges, sending, start_of
from simbyz.simulator import attackers, metrics, server, weighting
from simbyz.simulator.attackers import Received, receive
from simbyz.simulator.config import Config, Hyperparameters, Momentum
from simbyz.simulator.keys import EVALUATE, RULE, of_step
from simbyz.simulator.metrics import Column, Metrics, Seen, metrics_of, no_past, tell
from simbyz.simulator.participation import Round, Schedule, batches_in_a_step
from simbyz.simulator.server import defend
from simbyz.simulator.state import Parts, Simulator, State, simulator_of
from simbyz.simulator.weighting import Weighting
from simbyz.simulator.workers.gradients import Relabel, check_relabel, make_gradients
from simbyz.simulator.workers.local_steps import local_steps
from simbyz.simulator.workers.momentum import clip, momentum, server_momentum
from simbyz.simulator.workers.sender import (
    Sender,
    Take,
    bits_of,
    chain,
    either,
    of_participants,
    stays,
)
from simbyz.simulator.workers.variance_reduction import variance_reduction
from simbyz.tasks.returned import checked_accuracy, template_of
from simbyz.tasks.task import Task

__all__ = ["Config", "Hyperparameters", "Momentum", "Simulator", "State", "make_simulator"]


def sender_of(config: Config, more: Sequence[Sender], *, apart: bool = False) -> Sender:
    """Sender of each worker, as a configuration has it; apart: each has parameters of its own.

    Raises:
      ValueError: there is nothing to look ahead along.
    """
    if config.nesterov and not config.momentum_at and chain(*more).ahead is stays:
        raise ValueError(
            "nesterov looks ahead along momentum, of which there is none: give momentum_at "
            "(without a server momentum=True), or a sender with an `ahead`"
        )
    own = [clip()]
    if config.variance_reduction:
        own.append(variance_reduction(config, apart=apart))
    if "worker" in config.momentum_at:
        own.append(momentum())
    if config.local_steps > 1:
        own = [local_steps(config, chain(*own))]
    if "server" in config.momentum_at:
        own.append(server_momentum())
    return chain(*own, *more)


def _check_kinds(config: Config, task: Task, schedule: Schedule, senders: Sequence[Sender]) -> None:
    if not isinstance(config, Config):
        raise TypeError(f"config must be a Config, such as Config(n=11, f=2), got {config!r}")
    if not isinstance(task, Task):
        remedy = "its field `task`" if hasattr(task, "task") else "one of simbyz.tasks"
        raise TypeError(f"task must be a Task, got {type(task).__name__}: give {remedy}")
    require_taking("schedule", schedule, "step", "lambda step: 1 / (1 + step)", by_name=True)
    given = () if isinstance(senders, Sender) or not isinstance(senders, Sequence) else senders
    if given is not senders or not all(isinstance(one, Sender) for one in senders):
        raise TypeError(f"senders must be a list of Sender, got {senders!r}")


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
    senders: Sequence[Sender] = (),
    columns: Mapping[str, Column] = {},
) -> Simulator:
    """The simulator of one configuration.

    Args:
      config: what shapes the program.
      task: model and data.
      rule: ((n, d), f) -> (d,), with a `key` if it asks for one, `trusted` or `root` of a task that
        has a root set, see `simbyz.simulator.server.of_root`; or a `StatefulRule`.
      attack: (key, (h, d), num_byzantine, **Hyperparameters.attack) -> (num_byzantine, d), with
        `own`, if it asks for that, where Byzantine workers compute gradients, and `trusted` or
        `root` as a rule; or a `StatefulAttack`. None without attackers, or where they send what
        they computed. One that is `simbyz.attacks.forging` makes messages of messages.
      relabel: a data attack, labels of a Byzantine worker's batch -> labels, with keyword-only
        `logits` of the model if it asks for them; needs `Config.byzantine_gradients`.
      selection: ((n, d), f) -> (n,) weights of the rows in the rule's result, for the acceptance
        ratio.
      schedule: (step, **Hyperparameters.schedule) -> factor of the learning rate.
      optimizer: any optax optimiser, whose updates, times the learning rate that acts, are added to
        the parameters; see `simbyz.simulator.server`. `optax.sgd(1.0)` if None.
      weights: how much each worker counts, for a rule with masses; see
        `simbyz.simulator.weighting`.
      senders: what each worker does to its vector beside what `config` says, last before it sends;
        see `simbyz.simulator.workers.sender`.
      columns: of your own, by name; see `simbyz.simulator.metrics.Column`.

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
      - round(state, hyperparameters, key, step, look_ahead=True) -> `Round`, without data and
        batches; step(state, round, take, accuracy) -> (State, Metrics): what both are made of.
      - unravel(parameters (d,)) -> the model's own pytree.
      - check(hyperparameters): whether numbers that are not traced go with the configuration.

    Raises:
      TypeError: something is of another kind than asked for, such as a rule given by its name.
      ValueError: Nesterov without momentum, attackers without an attack, an attack that needs
        honest rows where a step may have none, one that forges messages where Byzantine workers
        have no part in what the server holds, a data attack without gradients to act on, weights
        for a rule that takes none, a rule or an attack that asks for a root set where the task has
        none, a column with the name of another, or an optimiser that asks for more than there is.
        When traced: a rule that refuses (n, f), a function that returns another shape than asked
        for, hyperparameters with momentum at other places than `config`, or out of range.
    """
    _check_kinds(config, task, schedule, senders)
    server.check_rule(rule, selection)
    attackers.check(config, attack)
    callables = [*server.parts_of(rule), selection, attack and sending(attack)]
    names_of_root = server.asked_of_root(callables, task)
    if relabel is not None:
        check_relabel(relabel, task, "Config", config.byzantine_gradients)
    weighting.check(config, rule, weights)
    vanishing = weights is not None and weighting.may_vanish(config, weights)
    metrics.check(columns, task)
    template, _ = template_of(task)
    dimension = sum(leaf.size for leaf in jax.tree.leaves(template))
    optimizer = optax.sgd(1.0) if optimizer is None else optimizer
    server.check(optimizer, dimension)
    unravel = unraveller(template)
    gradients = make_gradients(config, task, unravel, relabel)
    everyone = sender_of(config, senders)
    sender = of_participants(config, everyone)

    def start(parameters: jax.Array, model_state: PyTree) -> State:
        given = jnp.asarray(parameters)
        if given.shape != (dimension,) or not jnp.issubdtype(given.dtype, jnp.floating):
            raise ValueError(
                f"parameters must be floats of shape (d,) = ({dimension},), got {given.dtype} "
                f"{given.shape}"
            )
        return State(
            parameters=parameters,
            start=parameters,
            model_state=model_state,
            senders=sender.init(parameters, config.computing),
            attack=start_of(attack, dimension),
            rule=server.start_of_rule(rule, jnp.zeros_like(parameters), config.n),
            server=server.start(config, optimizer, parameters),
            past=no_past(dimension, config.curvature_window) if config.study else None,
        )

    unjudged = {name: jnp.float32(jnp.nan) for name in columns if metrics.judges(columns[name])}

    def step(
        state: State,
        round: Round,
        take: Take,
        accuracy: jax.Array | float = jnp.nan,
        judged: Mapping[str, jax.Array] = unjudged,
    ) -> tuple[State, Metrics]:
        point = either(
            round.ahead,
            lambda: server.ahead(state.parameters, state.server, round),
            lambda: state.parameters,
        )
        of_root = server.of_root(names_of_root, task, unravel, point, round)

        def attacked(vectors: jax.Array) -> Received:
            return receive(config, attack, vectors, state.attack, round, of_root)

        told_to_senders = round._replace(forge=attacked) if forges(attack) else round
        sent, memories = sender.send(take, point, state.senders, told_to_senders)
        asked_for = (config.rounds[0].computing, dimension)
        require_shape("senders", sent.vectors, asked_for, "a row for each that computes, (w, d),")
        require_shape("senders", sent.losses, asked_for[:1], "a loss for each that computes, (w,),")
        received = (
            attacked(sent.vectors) if sent.forger is None else Received(sent.vectors, *sent.forger)
        )
        rule_key = of_step(round.key, RULE, round.step)
        masses = None if weights is None else weighting.masses_of(config, weights, round.part)
        told_to_rules = {
            "masses": masses,
            "workers": round.part.workers,
            "parameters": state.parameters,
            **of_root,
        }
        aggregate, shares, learned = defend(
            rule, selection, received.stack, config.f, rule_key, state.rule, told_to_rules
        )
        parameters, memory = server.move(
            optimizer, state.parameters, aggregate, state.server, round
        )
        seen = Seen(sent.sampled, sent.losses, received.stack, aggregate, shares, bits_of(sent))
        known = describe(state, round.step, round.rate, accuracy, masses)
        told, past = tell(config, round, seen, state.past, known, columns, judged)
        learner = attack if isinstance(attack, StatefulAttack) else None
        after = State(
            parameters=parameters,
            start=state.start,
            model_state=sent.model_state,
            senders=memories,
            attack=None if learner is None else learner.learn(received.attack, aggregate),
            rule=learned,
            server=memory,
            past=past,
        )
        if vanishing:
            after = weighting.kept_without(known["mass"], state, after)
        return in_types_of(state, after), told

    def describe(
        state: State,
        step: jax.Array,
        rate: jax.Array | float,
        accuracy: jax.Array | float,
        masses: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        mass = jnp.float32(jnp.nan) if masses is None else weighting.total(masses)
        weighed = {} if weights is None else {"mass": mass}
        return weighed | {
            "step": step,
            "training_points": step * batches_in_a_step(config) * task.batch_size,
            "learning_rate": jnp.asarray(rate, jnp.float32),
            "distance_from_start": jnp.linalg.norm(wide(state.parameters) - wide(state.start)),
            "accuracy": jnp.asarray(accuracy, jnp.float32),
        }

    def evaluate(
        state: State, data: PyTree, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        key = of_step(key, EVALUATE, step)
        given = data, unravel(state.parameters), state.model_state, key
        accuracy = checked_accuracy(task.accuracy(*given))
        if not unjudged or task.predict is None:
            return accuracy, {}
        return accuracy, metrics.judged(columns, *task.predict(*given))

    def finish(state: State, data: PyTree, key: jax.Array, step: jax.Array) -> Metrics:
        accuracy, judged = evaluate(state, data, key, step)
        own = dict.fromkeys(columns, jnp.float32(jnp.nan)) | judged
        return metrics_of(config, describe(state, step, jnp.nan, accuracy), own)

    def ahead(state: State, round: Round) -> jax.Array:
        point = server.ahead(state.parameters, state.server, round)
        return everyone.ahead(point, state.senders, round)

    parts = Parts(
        start=start,
        aggregate=lambda state: state.server.aggregate,
        step=step,
        evaluate=evaluate,
        unevaluated=(jnp.float32(jnp.nan), unjudged),
        finish=finish,
        ahead=ahead,
    )
    shape = config.rounds[0].computing, dimension
    return simulator_of(parts, config, task, schedule, gradients, unravel, shape)
