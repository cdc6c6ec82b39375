"""How the simulator calls a rule: with a key if it draws random numbers, with its state if it
remembers.
"""

import inspect

import jax

from simbyz._arrays.calling import asked
from simbyz._arrays.geometry import squared_distances
from simbyz._arrays.stacking import PyTree
from simbyz.aggregators.base import Rule, StatefulRule


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
        return function(stack, f, **asked(function, known), **distances)

    weights = None if selection is None else call(selection)
    aggregate = call(aggregate_of)
    state = rule.learn(state, stack, aggregate) if isinstance(rule, StatefulRule) else None
    return aggregate, weights, state


def _can_be_told_distances(*functions: Rule) -> bool:
    given = [inspect.signature(each).parameters.get("squared_distances") for each in functions]
    return all(parameter is not None and parameter.default is None for parameter in given)
