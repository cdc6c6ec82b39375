"""The rules whose worst case is searched, each as its published bound means it.

Only those that move and scale with the rows, as the search takes for granted: `cge` and clipping to
a radius do not.
"""

import functools
import math
from collections.abc import Callable
from typing import get_args

import jax

from experiments.worst_case.options import RuleName
from simbyz import aggregators
from simbyz.preaggregators import nearest_neighbor_mixing
from simbyz.theory import robustness


def krum(updates: jax.Array, f: int) -> jax.Array:
    """With the n - f - 1 neighbours that its bound is proved for."""
    return aggregators.krum(updates, f, neighbours=len(updates) - f - 1)


# The exact geometric median is what the bound is of: the more iterations the closer to it.
_EXACT: dict[str, Callable] = {
    "krum": krum,
    "geometric_median": functools.partial(
        aggregators.geometric_median, smoothing=1e-9, iterations=128
    ),
}


@functools.cache  # one object a name, so that what is compiled of it is found again
def rule_of(name: str) -> Callable:
    """(updates (n, d), f) -> (d,); `mixed_`: after nearest-neighbour mixing."""
    plain = name.removeprefix("mixed_")
    rule: Callable = _EXACT.get(plain, aggregators.AGGREGATORS[plain])
    return rule if plain == name else aggregators.chain(nearest_neighbor_mixing, rule)


def bound_of(name: str, n: int, f: int) -> float:
    """The published κ of a rule, NaN where none is known."""
    plain = name.removeprefix("mixed_")
    known = robustness.COEFFICIENT_BOUNDS.get(plain)
    if known is None:
        return math.nan
    return known(n, f) if plain == name else robustness.mixing_coefficient(n, f, known(n, f))


RULES: tuple[RuleName, ...] = get_args(RuleName)
