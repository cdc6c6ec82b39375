"""The largest (f, κ)-coefficient that a search finds of each rule, beside what is proved.

Climbs from many starts over the honest and the Byzantine rows together, through the rule. Without
options: ten rules at n = 10; two minutes on two cores, nearly all of them to compile. What is found
before is not searched again. Writes the worst configurations (a file a search), a table (CSV) and a
picture (PDF and PNG).
"""

import dataclasses
from pathlib import Path
from typing import Literal

from experiments.shared.formats import Output

RuleName = Literal[
    "average",
    "median",
    "trimmed_mean",
    "phocas",
    "meamed",
    "krum",
    "multi_krum",
    "bulyan",
    "geometric_median",
    "minimum_diameter_averaging",
    "minimum_variance_averaging",
    "smea",
    "caf",
    "faba",
    "mixed_median",
    "mixed_trimmed_mean",
    "mixed_krum",
    "mixed_geometric_median",
]


@dataclasses.dataclass(frozen=True)
class Search:
    """The searches: all combinations of these."""

    rule: tuple[RuleName, ...] = (
        "median",
        "trimmed_mean",
        "krum",
        "geometric_median",
        "minimum_diameter_averaging",
        "average",
        "mixed_median",
        "mixed_trimmed_mean",
        "mixed_krum",
        "mixed_geometric_median",
    )
    """krum counts n - f - 1 neighbours; mixed: after nearest-neighbour mixing."""
    n: int = 10
    """Workers, Byzantine ones included."""
    f: tuple[int, ...] = (1, 3)
    """Byzantine workers, present and tolerated."""
    d: tuple[int, ...] = (3,)
    """Coordinates of a row."""
    seeds: tuple[int, ...] = (1,)
    """Each is a search of its own; the table tells the worst of them."""


@dataclasses.dataclass(frozen=True)
class Climbing:
    """How each search climbs."""

    restarts: int = 64
    """Climbs side by side, from four kinds of starts in turn."""
    steps: int = 300
    """Of each climb."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where results go."""

    results: Path = Path("results/worst_case")
    """Folder of the configurations found, the table and the picture."""
    allow_mixed: bool = False
    """Let searches of different code stand in one table."""


@dataclasses.dataclass(frozen=True)
class Options(Search, Climbing, Storage, Output):
    """The searches, and how they are made."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(rule=("median", "average"), n=5, f=(1,), d=(1,), restarts=32, steps=120)
