"""Intervals of shares and means by a paired bootstrap over seeds.

A seed gives the same initial weights and the same order of data to every configuration, so seeds,
and not runs, are what is drawn: a resample takes as many seeds as there are, with replacement, and
each of them brings all its runs along; ref, upd and wrk of a seed stay together. The grid of
configurations is not resampled, being all that the claim speaks of. With S seeds there are only
(2S - 1 choose S) different resamples, 126 of five seeds: all are weighed by their probability, so
that nothing is random. With few seeds such intervals are too narrow: of five normal values they
hold the mean 85 % of the time, not 95 %.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd

CONFIDENCE = 0.95
MOST_EXACT = 8  # seeds, beyond which resamples are drawn
DRAWN = 10_000


class Share(NamedTuple):
    """count of total, and the interval of count / total; NaN where there is none."""

    count: int  # type: ignore[assignment]  # hides the method of a tuple, as is meant
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.count / self.total if self.total else math.nan


class Mean(NamedTuple):
    value: float
    low: float
    high: float
    total: int


def share(counted: pd.Series, among: pd.Series, seeds: pd.Series) -> Share:
    """How many of the rows `among` are `counted`, with an interval over seeds; what is counted must
    be among them.
    """
    by_seed = pd.DataFrame({"counted": counted, "among": among}).groupby(seeds.to_numpy()).sum()
    low, high = interval(by_seed["counted"].to_numpy(), by_seed["among"].to_numpy())
    return Share(int(counted.sum()), int(among.sum()), low, high)


def mean(values: pd.Series, seeds: pd.Series) -> Mean:
    """The mean of the finite values, with an interval over seeds."""
    finite = np.isfinite(values.to_numpy())
    values, seeds = values[finite], seeds[finite]
    by_seed = values.groupby(seeds.to_numpy()).agg(["sum", "count"])
    low, high = interval(by_seed["sum"].to_numpy(), by_seed["count"].to_numpy())
    return Mean(float(values.mean()) if len(values) else math.nan, low, high, len(values))


def interval(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, float]:
    """Percentile interval of Σ numerators / Σ denominators, one of each a seed.

    Resamples whose denominators sum to zero have no share and are left out. NaN below two seeds.
    """
    if len(numerators) < 2:
        return math.nan, math.nan
    weights, probabilities = resamples(len(numerators))
    total = weights @ denominators
    valid = total > 0
    if not valid.any():
        return math.nan, math.nan
    values = (weights[valid] @ numerators) / total[valid]
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(probabilities[valid][order])
    cumulated /= cumulated[-1]
    tail = (1 - CONFIDENCE) / 2
    # The smallest value with at least the tail's probability at or below it, and the mirror image.
    low = values[order][np.searchsorted(cumulated, tail - 1e-12)]
    high = values[order][np.searchsorted(cumulated, 1 - tail - 1e-12)]
    return float(low), float(high)


@functools.cache
def resamples(seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each seed is in each resample, (resamples, seeds), and their probabilities."""
    if seeds > MOST_EXACT:
        draws = np.random.default_rng(0).multinomial(seeds, [1 / seeds] * seeds, size=DRAWN)
        return draws, np.full(DRAWN, 1 / DRAWN)
    chosen = list(itertools.combinations_with_replacement(range(seeds), seeds))
    weights = np.array([np.bincount(choice, minlength=seeds) for choice in chosen])
    orders = [math.prod(map(math.factorial, row)) for row in weights.tolist()]
    return weights, math.factorial(seeds) / np.array(orders) / seeds**seeds
