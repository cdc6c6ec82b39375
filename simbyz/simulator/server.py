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

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from simbyz._arrays.calling import name_of
from simbyz._arrays.checks import require_callable, require_shape
from simbyz._arrays.stacking import PyTree
from simbyz.aggregators.base import Rule, StatefulRule, together
from simbyz.simulator.config import Config, momenta_of
from simbyz.simulator.participation import Round


class Memory(NamedTuple):
    """Memory of the server, beside the parameters and the rule's."""

    aggregate: jax.Array | None  # (d,) the last one, for momentum at the server
    momentum: jax.Array | None  # (d,) at the update
    optimizer: optax.OptState


def check_rule(rule: Rule | StatefulRule, selection: Rule | None) -> None:
    """Raises TypeError where they are no functions."""
    call = rule.aggregate if isinstance(rule, StatefulRule) else rule
    require_callable("rule", call, "simbyz.aggregators.median, of (updates, f)")
    if selection is not None:
        require_callable("selection", selection, "simbyz.aggregators.median_selection")


def start_of_rule(rule: Rule | StatefulRule, zeros: jax.Array) -> PyTree:
    """Memory of a rule before the first step; None for one without memory."""
    return rule.start(zeros) if isinstance(rule, StatefulRule) else None


def defend(
    rule: Rule | StatefulRule,
    selection: Rule | None,
    stack: jax.Array,
    f: int,
    key: jax.Array,
    state: PyTree,
    masses: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array | None, PyTree]:
    """The aggregate (d,) of a step, the weights (n,) that the selection gives, and the new state.

    A rule or selection whose signature has a keyword-only `key`, `state` or `masses` without a
    value is given it: both the same, so that the selection tells of what the rule did. Masses are
    (n,), one a row; see `simbyz.simulator.weighting`. What both have to compute, as the distances
    of `krum`, is computed once: see `together`.

    Raises:
      ValueError: either gives another shape.
    """
    aggregate_of = rule.aggregate if isinstance(rule, StatefulRule) else rule
    both = together(aggregate_of, selection)
    aggregate, weights = both(stack, f, key=key, state=state, masses=masses)
    n, d = stack.shape
    require_shape(f"the rule {name_of(aggregate_of)}", aggregate, (d,), "an aggregate (d,)")
    if not jnp.issubdtype(aggregate.dtype, jnp.floating):
        raise ValueError(
            f"the rule {name_of(aggregate_of)} must return floats, got {aggregate.dtype}"
        )
    if weights is not None:
        what = f"the selection {name_of(selection)}"
        require_shape(what, weights, (n,), "a weight a row, (n,),")
    state = rule.learn(state, stack, aggregate) if isinstance(rule, StatefulRule) else None
    return aggregate, weights, state


def start(config: Config, optimizer: optax.GradientTransformation, parameters: jax.Array) -> Memory:
    """Before the first step, from its parameters (d,)."""
    zero = jnp.zeros_like(parameters)
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
