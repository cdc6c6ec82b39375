"""Theory: bounds on the variance-norm ratio, and on (f, κ)-robustness."""

from simbyz.theory.variance_norm import (
    VARIANCE_NORM_BOUNDS,
    bulyan_bound,
    krum_bound,
    median_bound,
    minimum_diameter_averaging_bound,
)

__all__ = [
    "VARIANCE_NORM_BOUNDS",
    "bulyan_bound",
    "krum_bound",
    "median_bound",
    "minimum_diameter_averaging_bound",
]
