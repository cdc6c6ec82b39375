"""The defence matrix: test accuracy under the worst attack, by defence, f and heterogeneity.

Every combination of the options is trained; hyperparameters are chosen by their worst attack on a
validation split. Ends in a table, heatmaps per rule and one of the best defence. The same command
again runs only what is missing. The default takes several minutes on two cores.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments.shared.formats import Output
from experiments.shared.options import command_line

BY_DATA = command_line.hint("1 2 4, but 1 4 of MNIST and Fashion-MNIST")
RuleName = Literal[
    "average",
    "median",
    "trimmed_mean",
    "phocas",
    "meamed",
    "krum",
    "multi_krum",
    "geometric_median",
    "cge",
    "caf",
    "faba",
    "fltrust",
    "zeno",
    "loss_function_rejection",
]
PreName = Literal["none", "nnm", "arc", "bucketing"]
AttackName = Literal[
    "sign_flipping",
    "fall_of_empires",
    "a_little_is_enough",
    "mimic",
    "min_max",
    "adaptive_empire",
    "adaptive_little",
]


@dataclasses.dataclass(frozen=True)
class Matrix:
    """The matrix: all combinations of these are trained."""

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """digits needs no download."""
    rule: tuple[RuleName, ...] = ("trimmed_mean", "median", "geometric_median", "multi_krum")
    """Defences."""
    pre: tuple[PreName, ...] = ("none", "nnm")
    """Before them: nearest-neighbour mixing, adaptive robust clipping, buckets of two."""
    attack: tuple[AttackName, ...] = (
        "sign_flipping",
        "fall_of_empires",
        "a_little_is_enough",
        "mimic",
        "min_max",
    )
    """Those that are adaptive search their factor through the defence, and cost more."""
    f: Annotated[tuple[int, ...] | None, BY_DATA] = None
    """Byzantine workers, present and tolerated; they come on top of the honest ones."""
    heterogeneity: tuple[str, ...] = ("gamma:1", "gamma:0.66", "gamma:0.33", "gamma:0")
    """Of the honest workers' data: iid, extreme, gamma:SIMILARITY, dirichlet:ALPHA."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of initial weights and batches."""


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Choices for each defence, by its worst attack on the validation split."""

    learning_rate: tuple[float, ...] = (0.1, 0.5)
    """The same in all steps."""
    momentum: tuple[float, ...] = (0.0, 0.9)
    """μ of m ← μ m + (1 - μ) gradient, at the workers."""
    weight_decay: tuple[float, ...] = (1e-4,)
    """Times the parameters, in each update."""
    validation: float = 0.2
    """Share of the training images that hyperparameters are chosen on."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of all runs."""

    honest: int = 10
    """Honest workers."""
    steps: int = 150
    """Steps of a run."""
    batch_size: int = 16
    """Examples a worker and a step."""
    hidden: int = 32
    """Width of the network's one hidden layer."""
    partition_seed: int = 0
    """Of the partition of the data, the same in all runs."""
    evaluations: int = 12
    """How often an adaptive attack evaluates the defence in a step."""
    root_examples: int = 0
    """Training examples that the server holds too, for fltrust, zeno and loss_function_rejection;
    who searches through these knows them."""
    certify: bool = False
    """Hold every step against theory, too: more columns of the runs and of the CSV."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/defence_matrix")
    allow_mixed: bool = False
    """Let runs of different code stand in one table."""


@dataclasses.dataclass(frozen=True)
class Options(Matrix, Tuning, Setting, Storage, Output):
    """The training, and how it is done."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(
    rule=("trimmed_mean",),
    pre=("nnm",),
    attack=("sign_flipping", "a_little_is_enough"),
    f=(1,),
    heterogeneity=("iid", "extreme"),
    honest=3,
    momentum=(0.9,),
    seeds=(1,),
    steps=20,
    hidden=4,
)
