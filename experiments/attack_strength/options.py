"""Which attack moves which rule most?

Records what honest workers send in a training run that nobody attacks, and measures on it how far
every attack, fixed, searched against the rule, or climbing through it, drags the aggregate from the
honest mean. Without options: the paper's rules on digits; some minutes on two cores, most of them
to compile. What is measured before is not measured again. Writes a file a rule, n and f, a table
(Markdown and CSV) and a heatmap (PDF and PNG).
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.distributed_momentum.grid.settings import DatasetName
from experiments.shared.formats import Output
from experiments.shared.options import command_line
from experiments.shared.options.command_line import OWN

RuleName = Literal[
    "krum",
    "krum-published",
    "median",
    "trmean",
    "phocas",
    "meamed",
    "bulyan",
    "bulyan-published",
    # By the library's names and defaults.
    "average",
    "multi_krum",
    "geometric_median",
    "caf",
    "cge",
    "aksel",
    "monna",
    "faba",
    "signguard",
    "foundation_fl",
    "clipped_clustering",
    "minimum_diameter_averaging",
    "minimum_variance_averaging",
    "smea",
    "median_of_means",
    "medoid",
    "huber_center",
    "norm_bounded_mean",
    "filter_l2",
    "robust_learning_rate",
    "fed_nga",
    "gas",
    "fedseca",
    "lasa",
    "autogm",
    "flame",
    "lfighter",
    "sequential_centered_clipping",
    "layerwise_centered_clipping",
]
BORNE = tyro.conf.arg(help_behavior_hint="(default: the most that the rules bear)")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The cases measured."""

    dataset: DatasetName = "digits"
    """digits needs no download; the others come through TensorFlow Datasets, or the cache."""
    rule: tuple[RuleName, ...] = ("krum", "median", "trmean", "phocas", "meamed", "bulyan")
    """Those that n and f do not bear are left out. krum and bulyan are the paper's program's."""
    n: Annotated[tuple[int, ...], OWN] = ()
    """Workers, Byzantine ones included."""
    f: Annotated[tuple[int, ...], BORNE] = ()
    """Byzantine workers, present and tolerated."""
    send: Literal["momenta", "gradients"] = "momenta"
    """The vectors of the honest workers."""
    at_step: tuple[int, ...] = (20, 100, 250)
    """Steps of the training run whose rows are attacked."""
    seed: int = 1
    """Of the training run."""


@dataclasses.dataclass(frozen=True)
class Climbing:
    """The attack that climbs through the rule."""

    iterations: int = 60
    """Of each climb."""
    climbers: int = 4
    """Climbs from so many of the best starts."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/attack_strength")
    allow_mixed: bool = False
    """Let measurements of different code stand in one table."""


@dataclasses.dataclass(frozen=True)
class Options(Measurement, Climbing, Storage, Output):
    """The cases measured, and how."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(rule=("median",), n=(5,), f=(1,), at_step=(0, 1), iterations=2, climbers=1)
