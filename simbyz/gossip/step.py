"""Decentralised SGD under Byzantine nodes: the simulator without a server.

One step, for the h honest nodes, each with parameters θ_i and a batch of its own:

    m_i = decay m_i + gain g_i(θ_i)                          momentum at the node
    x_i = θ_i - learning rate · m_i                          the gradient step
    B_i = attack(x_j of those that i hears, and its own)     rows of its Byzantine neighbours
    θ_i = rule(x_i, x_j ..., B_i)                            at each node, of its neighbourhood

`exchange="before"` has θ_i = rule(θ_i, θ_j ..., B_i) - learning rate · m_i; `"gradients"` has
θ_i - learning rate · rule(m_i, m_j ..., B_i), which on a complete graph is the server's step.

Gradient tracking keeps at each node an estimate y_i of the mean gradient:

    y_i = rule(y_j ...) + g_i(θ_i) - g_i of the last step
    θ_i = rule(θ_j - learning rate · y_j ...)

What nodes compute and send are the workers of `simbyz.simulator`, and what comes out is a
`Simulator`, so that sweeps, checkpoints and tables are those of runs with a server.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.calling import asks_for, name_of, require_taking
from simbyz._arrays.checks import require_shape
from simbyz._arrays.halves import core_of, selection_of
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import PyTree, in_types_of, unraveller
from simbyz.aggregators.base import Rule, StatefulRule
from simbyz.attacks import base
from simbyz.attacks.base import Attack, StatefulAttack, forges
from simbyz.gossip import columns as told
from simbyz.gossip.attackers import Setting, check_aim
from simbyz.gossip.columns import Heard
from simbyz.gossip.config import GossipConfig
from simbyz.gossip.neighbourhoods import Exchanged, Players, make_exchange
from simbyz.gossip.networks.conditions import check_conditions
from simbyz.gossip.networks.sampled import Sampled
from simbyz.gossip.state import GossipState, Tracking
from simbyz.simulator import Simulator, metrics
from simbyz.simulator.keys import EVALUATE, WORKERS, of_step
from simbyz.simulator.metrics import Column, Metrics, metrics_of
from simbyz.simulator.participation import Round, Schedule, batches_in_a_step
from simbyz.simulator.server import check_rule
from simbyz.simulator.state import Parts, simulator_of
from simbyz.simulator.step import sender_of
from simbyz.simulator.workers.gradients import Relabel, check_relabel, make_gradients
from simbyz.simulator.workers.sender import Sender, Sent, Take
from simbyz.tasks.returned import checked_accuracy, template_of
from simbyz.tasks.task import Task

# What a rule may ask for, see `simbyz.gossip.rules`.
ASKED_AT_A_NODE = ("key", "weights", "honest", "trusted", "loss_of")


def make_gossip(
    config: GossipConfig,
    task: Task,
    rule: Rule,
    attack: Attack | StatefulAttack | None = None,
    *,
    relabel: Relabel | None = None,
    selection: Rule | None = None,
    schedule: Schedule = lambda step: 1.0,
    senders: Sequence[Sender] = (),
    columns: Mapping[str, Column] = {},
) -> Simulator:
    """The simulator of one configuration without a server.

    Args:
      config: what shapes the program.
      task: model and data, of h workers, the honest nodes in the order of their numbers, and of the
        Byzantine ones behind them if they compute gradients. A model with running statistics is
        refused.
      rule: at each node, ((n, d), f) -> (d,) of the rows that meet there, its own first: any of
        `simbyz.aggregators` or `simbyz.gossip.rules`, given what it asks for of `key`, `weights`,
        `honest` and `loss_of`.
      attack: (key, (m, d), num_byzantine, **Hyperparameters.attack) -> (num_byzantine, d), any of
        `simbyz.attacks` or `simbyz.gossip.attacks`, or a `StatefulAttack`, with a memory for each
        node that is attacked, which takes each exchange for a step. See `GossipConfig.aimed` for
        what it is made of, and `simbyz.gossip.attacks` for what it may ask for. None without
        Byzantine nodes.
      relabel: a data attack, labels of a Byzantine node's batch -> labels; needs
        `GossipConfig.byzantine_gradients`.
      selection: weights of the rows in the rule's result; the rule's own if None, where it has one.
      schedule, senders: as in `simbyz.simulator.make_simulator`.
      columns: of a user's own, (...) -> scalar, of what they ask for of `parameters` (h, d) before
        the step, `sent` (h, d), `sampled` (h, d), `losses` (h,), `bits` (h,) to each neighbour,
        `shares` (h, 1 + k + b, see `simbyz.gossip.columns`), `coefficients` (h,) with `certify`,
        `step` and `hyperparameters`.

    Returns:
      A `Simulator` whose states are `GossipState`, for `simbyz.sweeps.sweep`; `start` takes
      parameters (d,) for all or (h, d), of all nodes if all compute. The columns are `accuracy`,
      the mean over the honest nodes, `loss`, `distance_from_start` (root mean square), and those
      of `simbyz.gossip.columns`; with `certify` `coefficient` and `distance`, the largest over
      neighbourhoods.

    Raises:
      TypeError: something is of another kind than asked for.
      ValueError: Byzantine nodes without an attack; an attack with a memory that is not aimed; a
        model with running statistics; a column with the name of another; a rule that refuses the
        neighbourhood of a node; a network beyond what the rule's guarantee asks for, without
        `GossipConfig.beyond_the_bound`. When traced: a function that returns another shape.
    """
    _check(config, task, rule, selection, attack, schedule, columns)
    workers, networks = config.workers, config.networks
    template, model_state = template_of(task)
    if jax.tree.leaves(model_state):
        raise ValueError("nodes keep no running statistics: give a model without them")
    dimension = sum(leaf.size for leaf in jax.tree.leaves(template))
    unravel = unraveller(template)
    if relabel is not None:
        check_relabel(relabel, task, "GossipConfig", config.byzantine_gradients)
    gradients = make_gradients(workers, task, unravel, relabel)
    h, computing = config.honest, config.computing
    sender = sender_of(workers, senders, apart=True)
    if selection is None and core_of(rule) is not None:
        selection = selection_of(rule)
    if not config.study and not any(asks_for(one, "shares") for one in columns.values()):
        selection = None
    exchange = make_exchange(Players(config, rule, selection, attack, dimension))
    edges = told.edges_of(networks)
    model_state = {}

    def start(parameters: jax.Array, model_state: PyTree) -> Any:
        given = jnp.asarray(parameters)
        shape = computing, dimension
        if given.shape not in (shape, shape[1:]) or not jnp.issubdtype(given.dtype, jnp.floating):
            raise ValueError(
                f"parameters must be floats of shape (d,) = ({dimension},), or (h, d) = {shape}, "
                f"got {given.dtype} {given.shape}"
            )
        points = jnp.broadcast_to(wide(given), shape)  # averages of half floats are no half floats
        memory = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (computing, *jnp.shape(leaf))),
            base.start_of(attack, dimension),
        )
        zeros = jnp.zeros(shape)
        tracking = Tracking(zeros, zeros, jnp.zeros((), bool)) if config.tracking else None
        return GossipState(points, points, sender.init(points[0], computing), memory, tracking)

    def mix(vectors: jax.Array, memory: PyTree, round: Round, first: int) -> Exchanged:
        """All exchanges of vectors (h, d) in a step, numbered from the first on."""

        def loss_of(node: jax.Array, point: jax.Array) -> jax.Array:
            if round.data is None:
                raise ValueError(
                    f"{name_of(rule)} asks for losses on the task's data, of which apply has none: "
                    "give `advance` the data"
                )
            several = config.local_steps > 1  # batches (k, h, ...), of which the first counts
            own = (0, node) if several else node
            batch = jax.tree.map(lambda leaf: leaf[own], round.batch)
            turn = round.step * config.local_steps
            key = jax.random.split(of_step(round.key, WORKERS, turn), computing)[node]
            return task.loss(round.data, unravel(point), model_state, batch, key)[0]

        def one(number: int | jax.Array, vectors: jax.Array, memory: PyTree) -> Exchanged:
            options = round.hyperparameters.attack
            setting = Setting(round.key, round.step, number, h, options, loss_of)
            return exchange(vectors, memory, setting)

        def turn(carry: tuple[jax.Array, PyTree], number: jax.Array) -> tuple[Any, Heard]:
            made = one(number, *carry)
            return in_types_of(carry, (made.vectors, made.attack)), made.heard

        if config.rounds == 1:
            return one(first, vectors, memory)
        numbers = first + jnp.arange(config.rounds)
        (vectors, memory), heard = jax.lax.scan(turn, (vectors, memory), numbers)
        return Exchanged(vectors, jax.tree.map(lambda leaf: leaf[-1], heard), memory)

    def step(
        state: GossipState, round: Round, take: Take, accuracy: jax.Array | float = jnp.nan
    ) -> tuple[Any, Metrics]:
        points, rate = state.parameters, round.rate
        sent, memories = sender.send(take, points, state.senders, round)
        require_shape("senders", sent.vectors, points.shape, "a row for each node, (h, d),")
        decay = round.hyperparameters.weight_decay
        tracking, moves, memory = state.tracking, sent.vectors, state.attack
        if tracking is not None:
            mixed = mix(tracking.estimates, memory, round, config.rounds)
            # Before its first gradient a node has no estimate that attackers could mix with theirs.
            before = jnp.where(tracking.met, mixed.vectors, 0)
            estimates = before + moves - tracking.gradients
            tracking = Tracking(estimates, moves, jnp.ones_like(tracking.met))
            moves, memory = estimates, mixed.attack
        if config.exchange == "gradients":
            made = mix(moves, memory, round, 0)
            after = points - rate * (made.vectors + decay * points)
        elif config.exchange == "before":
            made = mix(points, memory, round, 0)
            after = made.vectors - rate * (moves + decay * points)
        else:
            made = mix(points - rate * (moves + decay * points), memory, round, 0)
            after = made.vectors
        new = GossipState(after, state.start, memories, made.attack, tracking)
        return in_types_of(state, new), tell(state, round, sent, made, accuracy)

    def tell(
        state: GossipState, round: Round, sent: Sent, made: Exchanged, accuracy: jax.Array | float
    ) -> Metrics:
        heard = jax.tree.map(lambda leaf: leaf[:h], made.heard)
        values = {
            "parameters": state.parameters[:h],
            "sent": sent.vectors[:h],
            "sampled": sent.sampled[:h],
            "losses": sent.losses[:h],
            "bits": told.bits_of_exchanges(config, sent)[:h],
            "shares": heard.shares,
            "coefficients": heard.coefficient,
            "step": round.step,
            "hyperparameters": round.hyperparameters,
        }
        base, own = describe(state, round.step, round.rate, accuracy)
        own |= told.listening(heard) if config.study else {}
        own |= metrics.scalars(columns, values, columns)
        base["loss"] = jnp.mean(sent.losses[:h])
        if config.certify:
            base["coefficient"] = jnp.max(heard.coefficient)
            base["distance"] = jnp.max(heard.distance)
        return metrics_of(workers, base, own)

    def describe(
        state: GossipState, step: jax.Array, rate: jax.Array | float, accuracy: jax.Array | float
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The columns of every run, and those of runs without a server."""
        points = state.parameters[:h]
        moved = jnp.sum(jnp.square(points - state.start[:h])) / h
        nodes = told.accuracies(jnp.broadcast_to(jnp.float32(accuracy), (h,)))
        base = {
            "step": step,
            "training_points": step * batches_in_a_step(workers) * task.batch_size,
            "learning_rate": jnp.asarray(rate, jnp.float32),
            "distance_from_start": jnp.sqrt(moved),
            "accuracy": nodes.pop("accuracy"),
        }
        return base, nodes | told.distances(points, edges)

    def evaluate(
        state: GossipState, data: PyTree, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array]:
        """The accuracy of each honest node, (h,)."""
        key = of_step(key, EVALUATE, step)
        accuracies = jax.lax.map(
            lambda point: checked_accuracy(task.accuracy(data, unravel(point), model_state, key)),
            state.parameters[:h],
        )
        return (accuracies,)

    def finish(state: GossipState, data: PyTree, key: jax.Array, step: jax.Array) -> Metrics:
        base, own = describe(state, step, jnp.nan, *evaluate(state, data, key, step))
        absent = set(columns)
        if config.study and selection is not None:
            absent |= set(told.LISTENING)
        return metrics_of(workers, base, own | dict.fromkeys(absent, jnp.float32(jnp.nan)))

    parts = Parts(
        start=start,
        aggregate=lambda state: None,
        step=step,
        evaluate=evaluate,
        unevaluated=(np.full(h, np.nan, np.float32),),
        finish=finish,
        ahead=lambda state, round: sender.ahead(state.parameters, state.senders, round),
    )
    shape = computing, dimension
    return simulator_of(parts, workers, task, schedule, gradients, unravel, shape)


def _check(
    config: GossipConfig,
    task: Task,
    rule: Rule,
    selection: Rule | None,
    attack: Attack | StatefulAttack | None,
    schedule: Schedule,
    columns: Mapping[str, Column],
) -> None:
    if not isinstance(config, GossipConfig):
        raise TypeError(f"config must be a GossipConfig, got {config!r}")
    if not isinstance(task, Task):
        raise TypeError(f"task must be a Task, got {type(task).__name__}")
    if isinstance(rule, StatefulRule):
        raise TypeError("a node's rule has no memory: give a function of (updates, f)")
    check_rule(rule, selection, ASKED_AT_A_NODE, "simbyz.gossip.rules.gts")
    if asks_for(rule, "loss_of") and (config.exchange == "gradients" or config.tracking):
        raise ValueError(
            f"{name_of(rule)} compares losses of parameters, and here what nodes exchange is made "
            'of gradients: give exchange="after" or "before", without tracking'
        )
    require_taking("schedule", schedule, "step", "lambda step: 1 / (1 + step)", by_name=True)
    metrics.check(columns, told=told.TOLD)
    told.check(columns)
    if not config.beyond_the_bound:
        check_conditions(rule, config.networks)
    if attack is None:
        if config.byzantine and not config.byzantine_gradients:
            raise ValueError(
                f"{config.byzantine} Byzantine nodes need an attack, or byzantine_gradients to "
                "send, got None"
            )
        return
    base.check(attack)
    if config.byzantine:
        base.check_own(attack, "GossipConfig", config.byzantine_gradients)
    if forges(attack):
        raise ValueError("nodes hold nothing of each other: forging acts on messages to a server")
    to_all = not config.aimed or any(isinstance(one, Sampled) for one in config.networks)
    check_aim(attack, to_all)
