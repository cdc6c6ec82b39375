"""Rule: a function from the stack to the aggregate, one that remembers earlier steps, and what a
rule is made with: `ravel`, `require`, and `halves` of a core, or `aggregate` without weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import asked
from simbyz._arrays.checks import require as require
from simbyz._arrays.halves import Halves, core_of, share_a_core
from simbyz._arrays.halves import halves as halves
from simbyz._arrays.moments import mean_of_chosen, weighted_mean
from simbyz._arrays.stacking import PyTree
from simbyz._arrays.stacking import aggregate as aggregate
from simbyz._arrays.stacking import ravel as ravel

# ((n, d), f) -> (d,), with those of ASKED that it asks for by keyword-only parameters, as the
# simulator gives them.
Rule = Callable[..., jax.Array]


class StatefulRule(NamedTuple):
    """A rule that remembers earlier steps. `learn`, too, is given what it asks for of `ASKED` and
    `f`, and `start` the number of all workers, `n`, more than there are rows where some take part.

    Centered clipping around its last result:

        StatefulRule(
            lambda stack, f, *, state: centered_clipping(stack, f, radius=10.0, center=state),
            start=lambda zeros: zeros,
            learn=lambda state, stack, aggregate: aggregate,
        )
    """

    aggregate: Callable[..., jax.Array]  # ((n, d), f, *, state) -> (d,)
    start: Callable[..., PyTree]  # zeros (d,) -> what it knows before the first step
    learn: Callable[..., PyTree]  # (state, (n, d), aggregate) -> state


def together(
    rule: Callable[..., PyTree], selection: Callable[..., jax.Array] | None
) -> Callable[..., tuple[PyTree, jax.Array | None]]:
    """A rule and its selection as one function, (updates, f, **known) -> (aggregate, weights).

    Where they are the two halves of one core, configured alike, what they share is computed once;
    else each is called. Without a selection the weights are None. `known` is what either may ask
    for, such as key, state and masses: each is given what it asks for.
    """
    core = core_of(rule) if selection is not None and share_a_core(rule, selection) else None

    def both(updates: PyTree, f: int, **known: Any) -> tuple[PyTree, jax.Array | None]:
        if core is not None:
            computed = core(updates, f, **asked(core, known))
            return computed.result(), computed.weights()
        weights = None if selection is None else selection(updates, f, **asked(selection, known))
        return rule(updates, f, **asked(rule, known)), weights

    return both


def mean_by(
    weights: jax.Array,
    total: jax.Array | float,
    stack: jax.Array,
    unravel: Callable[[jax.Array], PyTree],
) -> Halves:
    """The halves of a rule that averages the rows by weights (n,) of a total ()."""
    return Halves(
        lambda: unravel(weighted_mean(stack, weights, total).astype(stack.dtype)),
        lambda: weights / total,
    )


def mean_of_some(
    stack: jax.Array, chosen: jax.Array, unravel: Callable[[jax.Array], PyTree]
) -> Halves:
    """The halves of a rule that averages the rows of some indices (m,): each weighs 1/m."""
    return Halves(
        lambda: unravel(mean_of_chosen(stack, chosen)),
        lambda: jnp.zeros(len(stack)).at[chosen].set(1 / len(chosen)),
    )
