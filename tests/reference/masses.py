"""Rules that weigh rows by masses: as they are tried, and by loops in NumPy."""

import functools

import numpy as np

from simbyz import aggregators
from simbyz.aggregators import WEIGHTED

OPTIONS = {"smoothing": 0.01, "iterations": 20, "start": "median"}
CONFIGURED = {
    name: functools.partial(rule, **OPTIONS if "geometric" in name else {})
    for name, rule in WEIGHTED.items()
}
SELECTIONS = {
    name: functools.partial(getattr(aggregators, f"{name}_selection"), **rule.keywords)
    for name, rule in CONFIGURED.items()
}


def average_by_hand(rows, masses):
    return sum(mass * row for mass, row in zip(masses, rows, strict=True)) / sum(masses)


def median_by_hand(rows, masses):
    middle = []
    for column in np.asarray(rows, np.float64).T:
        for value in sorted(column):
            below = sum(mass for mass, own in zip(masses, column, strict=True) if own <= value)
            if 2 * below >= sum(masses):
                middle.append(value)
                break
    return np.array(middle)


def geometric_median_by_hand(rows, masses):
    rows, center = np.asarray(rows, np.float64), median_by_hand(rows, masses)
    for _ in range(OPTIONS["iterations"]):
        pulls = [
            mass / max(OPTIONS["smoothing"], np.linalg.norm(row - center))
            for mass, row in zip(masses, rows, strict=True)
        ]
        center = average_by_hand(rows, pulls)
    return center


BY_HAND = {
    "weighted_average": average_by_hand,
    "weighted_median": median_by_hand,
    "weighted_geometric_median": geometric_median_by_hand,
}
