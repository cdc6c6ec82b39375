"""Defences by name: a rule, or a pre-aggregator and a rule."""

import functools
from collections.abc import Callable
from typing import Literal

import jax

from simbyz import aggregators, preaggregators
from simbyz.theory import robustness

RuleName = Literal[
    "average",
    "median",
    "trimmed_mean",
    "phocas",
    "meamed",
    "krum",
    "multi_krum",
    "geometric_median",
    "cge",
    "caf",
    "faba",
]
PreName = Literal["none", "nnm", "arc", "bucketing"]

# As ByzFL's benchmark configures it: few iterations, far from the smoothed median's own minimum.
GEOMETRIC_MEDIAN = {"smoothing": 0.1, "iterations": 3}
PREAGGREGATORS: dict[str, Callable] = {
    "nnm": preaggregators.nearest_neighbor_mixing,
    "arc": preaggregators.adaptive_robust_clipping,
    "bucketing": functools.partial(preaggregators.bucketing, bucket_size=2),
}


def selection(rule: str, pre: str) -> Callable[..., jax.Array] | None:
    """(stack, f) -> the weight of each row in the aggregate; None behind a pre-aggregator, whose
    rows are no single worker's.
    """
    if pre != "none":
        return None
    function = aggregators.SELECTIONS[rule]
    return (
        functools.partial(function, **GEOMETRIC_MEDIAN) if rule == "geometric_median" else function
    )


def coefficient_bound(rule: str, pre: str, n: int, f: int) -> float | None:
    """The proved κ of the defence's (f, κ)-robustness, if anything is proved.

    None for krum and the geometric median, as they are not those of the proofs: krum counts n - f -
    2 neighbours here, and three iterations from zero may end anywhere.
    """
    if rule in ("krum", "geometric_median") or rule not in robustness.COEFFICIENT_BOUNDS:
        return None
    bound = robustness.COEFFICIENT_BOUNDS[rule](n, f)
    behind = {"nnm": robustness.mixing_coefficient, "arc": robustness.adaptive_clipping_coefficient}
    if pre == "none":
        return bound
    return behind[pre](n, f, bound) if pre in behind else None


def defence(rule: str, pre: str) -> Callable[..., jax.Array]:
    """(stack, f) -> aggregate, with a `key` after bucketing."""
    function = aggregators.AGGREGATORS[rule]
    if rule == "geometric_median":
        function = functools.partial(function, **GEOMETRIC_MEDIAN)
    return function if pre == "none" else aggregators.chain(PREAGGREGATORS[pre], function)
