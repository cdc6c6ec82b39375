"""The rules whose worst case is searched, each as what is proved of it means it.

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
from simbyz.theory.robustness import mixing_coefficient, multi_krum_coefficient
from simbyz.theory.sharp import LEAST_KNOWN_COEFFICIENTS


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
    """The least κ that is proved of a rule, NaN where none is known."""
    plain = name.removeprefix("mixed_")
    if plain == "krum":
        known = multi_krum_coefficient(n, f, m=1, neighbours=n - f - 1)
    elif plain in LEAST_KNOWN_COEFFICIENTS:
        known = LEAST_KNOWN_COEFFICIENTS[plain](n, f)
    else:
        return math.nan
    return known if plain == name else mixing_coefficient(n, f, known)


RULES: tuple[RuleName, ...] = get_args(RuleName)
