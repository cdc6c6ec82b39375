"""How the simulator calls a rule: with a key if it draws random numbers, with its state if it
remembers.
"""

import jax

from simbyz._arrays.stacking import PyTree
from simbyz.aggregators.base import Rule, StatefulRule, together


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
    (n,), one a row; see `simbyz.simulator.weighting`. What both have to compute, as the distances
    of `krum`, is computed once: see `together`.
    """
    aggregate_of = rule.aggregate if isinstance(rule, StatefulRule) else rule
    both = together(aggregate_of, selection)
    aggregate, weights = both(stack, f, key=key, state=state, masses=masses)
    state = rule.learn(state, stack, aggregate) if isinstance(rule, StatefulRule) else None
    return aggregate, weights, state
