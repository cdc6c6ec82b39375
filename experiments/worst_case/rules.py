"""The rules whose worst case is searched, each as what is proved of it means it.

Only those that move and scale with the rows, as the search takes for granted: `cge` and clipping to
a radius do not.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import jax
import jax.numpy as jnp

from experiments.worst_case.options import RuleName
from simbyz import aggregators
from simbyz.preaggregators import nearest_neighbor_mixing
from simbyz.theory import robustness, sharp


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


def check_rules(names: Sequence[str], n: int, fs: Sequence[int]) -> None:
    """Trace each rule, so that a bad (rule, n, f) fails before any step is computed.

    Raises:
      ValueError: by the rule that refuses.
    """
    stack = jax.ShapeDtypeStruct((n, 4), jnp.float32)
    for name, f in itertools.product(names, fs):
        jax.eval_shape(functools.partial(rule_of(name), f=f), stack)


def bound_of(name: str, n: int, f: int) -> float:
    """The least κ that is proved of a rule, NaN where none is known."""
    krum = functools.partial(sharp.krum_coefficient, neighbours=n - f - 1)
    bounds = sharp.LEAST_KNOWN_COEFFICIENTS | {"krum": krum}
    return _bound(name, n, f, bounds, sharp.mixing_coefficient)


def published_of(name: str, n: int, f: int) -> float:
    """The published κ of a rule, NaN where none is known."""
    return _bound(name, n, f, robustness.COEFFICIENT_BOUNDS, robustness.mixing_coefficient)


def _bound(
    name: str,
    n: int,
    f: int,
    bounds: Mapping[str, Callable[..., float]],
    mixed: Callable[[int, int, float], float],
) -> float:
    plain = name.removeprefix("mixed_")
    if plain not in bounds:
        return math.nan
    known = bounds[plain](n, f)
    return known if plain == name else mixed(n, f, known)


RULES: tuple[RuleName, ...] = get_args(RuleName)
