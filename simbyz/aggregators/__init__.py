"""Aggregation rules: pure functions (updates, f) -> aggregate, and a dict of them by name.

`updates` is an (n, d) array or a pytree whose leaves have a leading worker axis; `f`, a Python int,
is the number of Byzantine rows tolerated. A wrong (n, f) raises ValueError at trace time; array
values never raise. `functools.partial(multi_krum, m=1)` is a configured rule. Rules are not jitted:
call them inside your own `jax.jit`, or eagerly.
"""

from simbyz.aggregators.coordinate import average, meamed, median, phocas, trimmed_mean
from simbyz.aggregators.distance import (
    bulyan,
    bulyan_selection,
    krum,
    krum_selection,
    multi_krum,
    multi_krum_selection,
)
from simbyz.aggregators.shares import (
    average_selection,
    meamed_selection,
    median_selection,
    phocas_selection,
    trimmed_mean_selection,
)

AGGREGATORS = {
    "average": average,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "phocas": phocas,
    "meamed": meamed,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
}

# Whom a rule took: (updates, f) -> the weight (n,) of each row in the aggregate.
SELECTIONS = {
    "average": average_selection,
    "median": median_selection,
    "trimmed_mean": trimmed_mean_selection,
    "phocas": phocas_selection,
    "meamed": meamed_selection,
    "krum": krum_selection,
    "multi_krum": multi_krum_selection,
    "bulyan": bulyan_selection,
}

__all__ = [
    "AGGREGATORS",
    "SELECTIONS",
    "average",
    "average_selection",
    "bulyan",
    "bulyan_selection",
    "krum",
    "krum_selection",
    "meamed",
    "meamed_selection",
    "median",
    "median_selection",
    "multi_krum",
    "multi_krum_selection",
    "phocas",
    "phocas_selection",
    "trimmed_mean",
    "trimmed_mean_selection",
]
