"""Defences by name: a rule, or a pre-aggregator and a rule."""

import functools
from collections.abc import Callable
from typing import Literal

import jax

from simbyz import aggregators, certificates, preaggregators

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
    """What is published of the defence's (f, κ)-robustness, if anything is."""
    bounds = certificates.COEFFICIENT_BOUNDS
    return bounds[rule](n, f) if pre == "none" and rule in bounds else None


def defence(rule: str, pre: str) -> Callable[..., jax.Array]:
    """(stack, f) -> aggregate, with a `key` after bucketing."""
    function = aggregators.AGGREGATORS[rule]
    if rule == "geometric_median":
        function = functools.partial(function, **GEOMETRIC_MEDIAN)
    return function if pre == "none" else aggregators.chain(PREAGGREGATORS[pre], function)
