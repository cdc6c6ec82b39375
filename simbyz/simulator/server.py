"""The server's half of a step: the rule, once, then the way from its aggregate to the parameters.

    v = decay v + gain G                        momentum at the update, where it is kept
    θ ← θ + learning rate · (optimizer(v) - weight decay · θ)

`optimizer` is any optax optimiser, whose updates are added, as `optax.apply_updates` adds them, and
point downhill: `optax.adam(1.0)`, or `optax.sgd(1.0)` by default. They are multiplied by the
learning rate that acts in the step, the schedule's factor included, so that an optimiser's own rate
is a further factor, usually 1. A bare transformation such as `optax.scale_by_adam()` keeps the sign
of a gradient, and would go uphill: chain it with `optax.scale(-1.0)`. Weight decay is apart from
the optimiser, as in AdamW.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simbyz._arrays.calling import (
    ASKED,
    OF_ROOT,
    asked,
    asks_for,
    name_of,
    require_known,
    require_of_updates,
    require_taking,
)
from simbyz._arrays.checks import require_arrays, require_floats, require_shape
from simbyz._arrays.lengths import safe_sqrt
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import PyTree
from simbyz.aggregators.base import Rule, StatefulRule, together
from simbyz.aggregators.trust.root import Root
from simbyz.simulator.config import Config, momenta_of
from simbyz.simulator.keys import ROOT, of_step
from simbyz.simulator.participation import Round
from simbyz.simulator.workers.momentum import clip
from simbyz.simulator.workers.sender import Sent
from simbyz.tasks.task import Task

LEARN = "lambda state, stack, aggregate: aggregate"


class Memory(NamedTuple):
    """Memory of the server, beside the parameters and the rule's."""

    aggregate: jax.Array | None  # (d,) the last one, for momentum at the server
    momentum: jax.Array | None  # (d,) at the update
    optimizer: optax.OptState


def parts_of(rule: Rule | StatefulRule) -> list[Callable[..., Any]]:
    """The functions of a rule that are given what they ask for in a step."""
    return [rule.aggregate, rule.learn] if isinstance(rule, StatefulRule) else [rule]


def check_rule(
    rule: Rule | StatefulRule,
    selection: Rule | None,
    known: Collection[str] = ASKED,
    example: str = "simbyz.aggregators.median",
) -> None:
    """Raises TypeError where they are no functions, ValueError where they ask for what is not
    known.
    """
    call = rule.aggregate if isinstance(rule, StatefulRule) else rule
    require_of_updates("rule", call, example)
    if isinstance(rule, StatefulRule):
        require_taking("start of a StatefulRule", rule.start, "zeros", "lambda zeros: zeros")
        require_taking("learn of a StatefulRule", rule.learn, "state, stack, aggregate", LEARN)
    require_known(f"the rule {name_of(call)}", call, known)
    if selection is not None:
        require_of_updates("selection", selection, f"{example}_selection")
        require_known(f"the selection {name_of(selection)}", selection, known)


def start_of_rule(rule: Rule | StatefulRule, zeros: jax.Array, n: int) -> PyTree:
    """Memory of a rule before the first step, of n workers; None for one without memory."""
    if not isinstance(rule, StatefulRule):
        return None
    memory = rule.start(zeros, **asked(rule.start, {"n": n}))
    require_arrays("start of a StatefulRule", memory)
    return memory


def asked_of_root(callables: Iterable[Callable[..., Any] | None], task: Task) -> set[str]:
    """Which of OF_ROOT any of these asks for.

    Raises:
      ValueError: one does, and the task has no root set.
    """
    names = set()
    for call in callables:
        wanted = [name for name in OF_ROOT if call is not None and asks_for(call, name)]
        if wanted and task.root_loss is None:
            raise ValueError(
                f"{name_of(call)} asks for {' and '.join(wanted)}, of examples that the server "
                "holds: give the task a root set, as classification(..., root=...) does"
            )
        names.update(wanted)
    return names


def of_root(
    names: set[str],
    task: Task,
    unravel: Callable[[jax.Array], PyTree],
    point: jax.Array,
    round: Round,
) -> dict[str, Any]:
    """What is asked for of the server's own examples: `root`, their loss, regularised as the
    workers' is, with the point (d,) where gradients are taken; `trusted`, its gradient (d,) there,
    clipped as the workers' are: what a worker that held them would send without momentum.
    """
    if not names:
        return {}
    if round.data is None:
        raise ValueError(
            f"{' and '.join(sorted(names))} of the root set is computed from the task's data, of "
            "which apply has none: give `advance` the data"
        )
    key = of_step(round.key, ROOT, round.step)

    def loss(parameters: jax.Array) -> jax.Array:
        assert task.root_loss is not None
        value = task.root_loss(round.data, unravel(parameters), round.model_state, key)
        norm = safe_sqrt(jnp.sum(jnp.square(parameters)))
        return value + round.hyperparameters.l2 * norm

    def take(point: jax.Array, round: Round) -> Sent:
        value, gradient = jax.value_and_grad(loss)(point)
        return Sent(gradient[None], gradient[None], value[None], round.model_state)

    known: dict[str, Any] = {"root": Root(point, round.rate, loss)}
    if "trusted" in names:
        sent, _ = clip().send(take, point, None, round)
        known["trusted"] = sent.vectors[0]
    return known


def defend(
    rule: Rule | StatefulRule,
    selection: Rule | None,
    stack: jax.Array,
    f: int,
    key: jax.Array,
    state: PyTree,
    more: Mapping[str, Any] | None = None,
) -> tuple[jax.Array, jax.Array | None, PyTree]:
    """The aggregate (d,) of a step, the weights (n,) that the selection gives, and the new state.

    A rule or selection whose signature has a keyword-only `key`, `state` or a name of `more`, all
    of `ASKED`, without a value is given it: both the same, so that the selection tells of what the
    rule did. What both have to compute, as the distances of `krum`, is computed once: see
    `together`.

    Raises:
      ValueError: either gives another shape.
    """
    aggregate_of = rule.aggregate if isinstance(rule, StatefulRule) else rule
    both = together(aggregate_of, selection)
    known = {"key": key, "state": state, **(more or {})}
    aggregate, weights = both(stack, f, **known)
    n, d = stack.shape
    require_shape(f"the rule {name_of(aggregate_of)}", aggregate, (d,), "an aggregate (d,)")
    require_floats(f"the rule {name_of(aggregate_of)}", aggregate)
    if selection is not None:
        what = f"the selection {name_of(selection)}"
        require_shape(what, weights, (n,), "a weight a row, (n,),")
    if not isinstance(rule, StatefulRule):
        return aggregate, weights, None
    known["f"] = f
    return aggregate, weights, rule.learn(state, stack, aggregate, **asked(rule.learn, known))


def start(config: Config, optimizer: optax.GradientTransformation, parameters: jax.Array) -> Memory:
    """Before the first step, from its parameters (d,)."""
    zero = jnp.zeros_like(wide(parameters))
    return Memory(
        aggregate=zero if "server" in config.momentum_at else None,
        momentum=zero if "update" in config.momentum_at else None,
        optimizer=optimizer.init(parameters),
    )


def check(optimizer: optax.GradientTransformation, dimension: int) -> None:
    """Whether the optimiser takes what the server has.

    Raises:
      ValueError: it takes more than updates, state and parameters (d,), or is none.
    """
    parameters = jax.ShapeDtypeStruct((dimension,), jnp.float32)
    try:
        state = jax.eval_shape(optimizer.init, parameters)
        updates, _ = jax.eval_shape(optimizer.update, parameters, state, parameters)
    except (TypeError, AttributeError) as error:
        raise ValueError(
            "the optimizer must be an optax transformation of (updates, state, parameters) alone, "
            f"got {optimizer!r}: {error}"
        ) from error
    require_shape("the optimizer", updates, parameters.shape, "updates (d,)")


def ahead(parameters: jax.Array, memory: Memory, round: Round) -> jax.Array:
    """Where the momentum at the update is about to lead (Nesterov): (d,)."""
    if memory.momentum is None:
        return parameters
    decay, _ = momenta_of(round.hyperparameters)["update"]
    return parameters - round.rate * decay * memory.momentum


def move(
    optimizer: optax.GradientTransformation,
    parameters: jax.Array,
    aggregate: jax.Array,
    memory: Memory,
    round: Round,
) -> tuple[jax.Array, Memory]:
    """The parameters after a step with this aggregate, (d,) both, and what is remembered of it."""
    applied, momentum = aggregate, None
    if memory.momentum is not None:
        decay, gain = momenta_of(round.hyperparameters)["update"]
        applied = momentum = decay * memory.momentum + gain * aggregate
    updates, state = optimizer.update(applied, memory.optimizer, parameters)
    updates = updates - round.hyperparameters.weight_decay * parameters
    last = None if memory.aggregate is None else aggregate
    return optax.apply_updates(parameters, round.rate * updates), Memory(last, momentum, state)
