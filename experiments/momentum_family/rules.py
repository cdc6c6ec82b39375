"""The rules by name."""

import functools
from collections.abc import Callable
from typing import Literal

from simbyz import aggregators
from simbyz.preaggregators import nearest_neighbor_mixing

RuleName = Literal[
    "average",
    "median",
    "trimmed_mean",
    "geometric_median",
    "mixed_trimmed_mean",
    "mixed_median",
    "mixed_geometric_median",
    "mixture",
]

_EXACT = functools.partial(aggregators.geometric_median, smoothing=1e-6, iterations=8)
_PLAIN: dict[str, Callable] = {
    "average": aggregators.average,
    "median": aggregators.median,
    "trimmed_mean": aggregators.trimmed_mean,
    "geometric_median": _EXACT,
}
RULES: dict[str, Callable] = _PLAIN | {
    f"mixed_{name}": aggregators.chain(nearest_neighbor_mixing, rule)
    for name, rule in _PLAIN.items()
    if name != "average"
}
# One of three in each step, all alike, behind mixing.
RULES["mixture"] = aggregators.chain(
    nearest_neighbor_mixing,
    aggregators.mixture([aggregators.median, aggregators.trimmed_mean, _EXACT]),
)
