"""The error that no rule can avoid on heterogeneous data, against what robust rules reach.

Quadratics of known heterogeneity ζ, several attacks (among them the one that the lower bound is
proved with), and the final squared gradient norm against f / (n - 2f) · ζ². About a minute on two
cores. Writes a table, a picture and every run as a row of runs.csv.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from experiments.shared.formats import Output

RuleName = Literal[
    "average", "median", "trimmed_mean", "krum", "geometric_median", "mixed_trimmed_mean"
]


@dataclasses.dataclass(frozen=True)
class Runs:
    """The runs: all combinations of rules, f, ζ and seeds."""

    rule: tuple[RuleName, ...] = (
        "median",
        "trimmed_mean",
        "krum",
        "geometric_median",
        "mixed_trimmed_mean",
    )
    """Defences. krum counts n - f - 1 neighbours; mixed: after nearest-neighbour mixing."""
    n: int = 20
    """Workers, Byzantine ones included."""
    f: tuple[int, ...] = (1, 3, 6, 8)
    """Byzantine workers, present and tolerated."""
    zeta: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """Heterogeneity: root of the mean squared distance of workers' gradients from their mean."""
    sigma: float = 0.1
    """Noise of stochastic gradients, root of the mean squared norm."""
    steps: int = 300
    """Steps of a run."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of quadratics and noise."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where results go."""

    results: Path = Path("results/error_floor")
    """Folder of the table of runs and the picture."""


@dataclasses.dataclass(frozen=True)
class Options(Runs, Storage, Output):
    """The runs, and what is made of them."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(rule=("trimmed_mean",), n=7, f=(2,), zeta=(1.0, 10.0), steps=200, seeds=(1, 2))
