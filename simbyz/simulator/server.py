"""How the simulator calls a rule: with a key if it draws random numbers, with its state if it
remembers.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from simbyz._arrays.geometry import squared_distances
from simbyz.aggregators.compose.chain import asks_for

PyTree = Any
Rule = Callable[..., jax.Array]  # ((n, d), f) -> (d,), with `key`, `state` or `masses` where asked


class StatefulRule(NamedTuple):
    """A rule that remembers earlier steps.

    Centered clipping around its last result:

        StatefulRule(
            lambda stack, f, *, state: centered_clipping(stack, f, radius=10.0, center=state),
            start=lambda zeros: zeros,
            learn=lambda state, stack, aggregate: aggregate,
        )
    """

    aggregate: Callable[..., jax.Array]  # ((n, d), f, *, state) -> (d,)
    start: Callable[[jax.Array], PyTree]  # zeros (d,) -> what it knows before the first step
    learn: Callable[[PyTree, jax.Array, jax.Array], PyTree]  # (state, (n, d), aggregate) -> state


def start(rule: Rule | StatefulRule, zeros: jax.Array) -> PyTree:
    """What a rule knows before the first step; None for one without memory."""
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
    (n,), one a row; see `simbyz.simulator.weighting`. Where both can be given `squared_distances`,
    as those of `krum`, the distances are taken once for both.
    """
    aggregate_of = rule.aggregate if isinstance(rule, StatefulRule) else rule
    distances = {}
    if selection is not None and _can_be_told_distances(aggregate_of, selection):
        distances = {"squared_distances": squared_distances(stack)}

    def call(function: Rule) -> jax.Array:
        known = {"key": key, "state": state, "masses": masses}
        asked = {name: known[name] for name in known if asks_for(function, name)}
        return function(stack, f, **asked, **distances)

    weights = None if selection is None else call(selection)
    aggregate = call(aggregate_of)
    state = rule.learn(state, stack, aggregate) if isinstance(rule, StatefulRule) else None
    return aggregate, weights, state


def _can_be_told_distances(*functions: Rule) -> bool:
    given = [inspect.signature(each).parameters.get("squared_distances") for each in functions]
    return all(parameter is not None and parameter.default is None for parameter in given)
