"""Attack: a function of what the honest workers send, and one that remembers earlier steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from simbyz._arrays.stacking import PyTree

# (key, (h, d), num_byzantine, **options) -> (num_byzantine, d). Where the Byzantine workers compute
# gradients too, an attack that takes `own` is given it: (num_byzantine, d), what they would have
# sent.
Attack = Callable[..., jax.Array]


class StatefulAttack(NamedTuple):
    """An attack with a memory."""

    # d -> state before the first step
    start: Callable[[int], PyTree]
    # (key, (h, d), num_byzantine, state, **options) -> ((num_byzantine, d), state)
    send: Callable[..., tuple[jax.Array, PyTree]]
    # (state, aggregate (d,)) -> state, told what the rule made of it
    learn: Callable[[PyTree, jax.Array], PyTree] = lambda state, aggregate: state


def sending(attack: Attack | StatefulAttack) -> Callable[..., Any]:
    """The function that makes the Byzantine rows."""
    return attack.send if isinstance(attack, StatefulAttack) else attack
