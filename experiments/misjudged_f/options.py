"""Rules that tolerate f̂ Byzantine workers where f are there: what that costs, beside theory.

Every combination of the options is run. Quadratics have known constants, so that their error is
exact, and stands beside the floor of theory and the rule's published bound; of images it is the
accuracy. Ends in a table a problem, curves over f̂ and two CSV files. The default takes three
minutes on one core, most of them to compile.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from experiments.shared.formats import Output
from experiments.shared.options import command_line

RuleName = Literal[
    "average",
    "median",
    "trimmed_mean",
    "krum",
    "multi_krum",
    "geometric_median",
    "minimum_diameter_averaging",
    "smea",
    "caf",
    "mixed_median",
    "mixed_trimmed_mean",
    "mixed_krum",
    "mixed_geometric_median",
]
AttackName = Literal["mimic", "little", "flipped", "negated"]


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid: all combinations of these are run."""

    problem: tuple[Literal["quadratic", "digits", "mnist", "fashion_mnist"], ...] = (
        "quadratic",
        "digits",
    )
    """What is learnt; digits needs no download."""
    rule: tuple[RuleName, ...] = ("trimmed_mean", "mixed_trimmed_mean", "krum", "median")
    """Defences. krum counts n - f̂ - 1 neighbours; mixed: after nearest-neighbour mixing."""
    attack: tuple[AttackName, ...] = ("mimic", "little", "flipped", "negated")
    """As the first worker; a little is enough; the honest mean times -1; and times -100."""
    f: tuple[int, ...] = (0, 1, 2, 3)
    """Byzantine workers that are there."""
    tolerated: tuple[int, ...] = (0, 1, 2, 3, 4)
    """f̂, how many of them the rule is told to tolerate."""
    data: tuple[str, ...] = ("minority", "spread", "dirichlet:1")
    """Of the honest workers: of quadratics minority (f̂ of them differ from the others) and spread
    (all differ), of images iid, extreme, gamma:SIMILARITY, dirichlet:ALPHA."""
    seeds: tuple[int, ...] = (1, 2)
    """Of initial weights, noise and batches."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of all runs."""

    n: int = 11
    """Workers, Byzantine ones included."""
    steps: int = 200
    """Steps of a run; the learning rate falls to zero in the second half of them."""
    learning_rate: float = 0.5
    """At the start."""
    momentum: float = 0.9
    """μ of m ← μ m + (1 - μ) gradient, at the workers."""
    zeta: float = 1.0
    """Heterogeneity of quadratics: root of the mean squared distance of workers' gradients from
    their mean."""
    sigma: float = 0.1
    """Noise of a quadratic's stochastic gradients, root of the mean squared norm."""
    batch_size: int = 16
    """Images a worker and a step."""
    hidden: int = 16
    """Width of the network's one hidden layer."""
    partition_seed: int = 0
    """Of the partition of images, the same in all runs."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/misjudged_f")


@dataclasses.dataclass(frozen=True)
class Options(Grid, Setting, Storage, Output):
    """The training, and how it is done."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(
    problem=("quadratic",),
    rule=("trimmed_mean",),
    data=("minority", "spread"),
    f=(0, 1, 2),
    tolerated=(1,),
    n=7,
    steps=120,
    seeds=(1,),
)
