"""Defences by name: a rule, or a pre-aggregator and a rule."""

import functools
from collections.abc import Callable

import jax

from simbyz import aggregators, preaggregators
from simbyz._arrays.calling import OF_ROOT, asks_for

# As ByzFL's benchmark configures it: few iterations, far from the smoothed median's own minimum.
GEOMETRIC_MEDIAN = {"smoothing": 0.1, "iterations": 3}
PREAGGREGATORS: dict[str, Callable] = {
    "nnm": preaggregators.nearest_neighbor_mixing,
    "arc": preaggregators.adaptive_robust_clipping,
    "bucketing": functools.partial(preaggregators.bucketing, bucket_size=2),
}


RULES = aggregators.AGGREGATORS | aggregators.BY_ROOT


def of_root(rule: str) -> list[str]:
    """What a rule asks for of the server's own examples."""
    return [name for name in OF_ROOT if asks_for(RULES[rule], name)]


def defence(rule: str, pre: str) -> Callable[..., jax.Array]:
    """(stack, f) -> aggregate, with a `key` after bucketing."""
    function = RULES[rule]
    if rule == "geometric_median":
        function = functools.partial(function, **GEOMETRIC_MEDIAN)
    return function if pre == "none" else aggregators.chain(PREAGGREGATORS[pre], function)
