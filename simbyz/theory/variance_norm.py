"""Bounds on the variance-norm ratio of honest vectors, below which a rule promises anything.

Each is a function of n workers and f Byzantine rows tolerated; ValueError of fewer workers than it
says. It gives b, where the rule is proved resilient if honest vectors keep √(E ||x - E x||²) /
||E x|| < b.

Reference: El-Mhamdi et al., Distributed momentum, ICLR 2021.
"""

import math
from collections.abc import Callable

from simbyz._arrays.checks import require


def krum_bound(n: int, f: int) -> float:
    """Variance-norm bound of Krum, and of Bulyan on top of it: 1 / √(2 (n - f + f (n + f (n - f -
    2) - 2) / (n - 2f - 2))), where n >= 2f + 3.

    Reference: also Blanchard et al., Machine learning with adversaries, NeurIPS 2017 (its 1 / η).
    """
    require("krum", n, f, 2, 3)
    return 1 / math.sqrt(2 * (n - f + f * (n + f * (n - f - 2) - 2) / (n - 2 * f - 2)))


def bulyan_bound(n: int, f: int) -> float:
    """Variance-norm bound of Bulyan: Krum's, where n >= 4f + 3."""
    require("bulyan", n, f, 4, 3)
    return krum_bound(n, f)


def median_bound(n: int, f: int) -> float:
    """Variance-norm bound of the coordinate-wise median: 1 / √(n - f), where n >= 2f + 1."""
    require("median", n, f, 2, 1)
    return 1 / math.sqrt(n - f)


def minimum_diameter_averaging_bound(n: int, f: int) -> float:
    """Variance-norm bound of minimum-diameter averaging: (n - f) / (√8 f), where n >= 2f + 1.
    Without Byzantine rows there is none to obey: infinity.
    """
    require("minimum_diameter_averaging", n, f, 2, 1)
    return (n - f) / (math.sqrt(8) * f) if f else math.inf


# By the names of the rules; the others have no published bound of this kind.
VARIANCE_NORM_BOUNDS: dict[str, Callable[[int, int], float]] = {
    "krum": krum_bound,
    "multi_krum": krum_bound,
    "bulyan": bulyan_bound,
    "median": median_bound,
    "minimum_diameter_averaging": minimum_diameter_averaging_bound,
}
