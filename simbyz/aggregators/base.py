"""Rule: a function from the stack to the aggregate, and one that remembers earlier steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

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
