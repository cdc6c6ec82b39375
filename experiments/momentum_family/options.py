"""Momentum algorithms under attack: accuracy by steps, gradients and bits, against one of them.

Every combination of the options is trained; each algorithm takes the learning rate whose worst
attack is best on a validation split, and is compared with the baseline seed by seed. Ends in
tables, three pictures a rule, and two CSV files. The same command again runs only what is missing.
The default takes about eleven minutes of one core's time, five of them to compile.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal, get_args

from experiments.shared.formats import Output
from experiments.shared.options import command_line

AlgorithmName = Literal[
    "worker_momentum",
    "sgd",
    "update_momentum",
    "storm",
    "ef21_sgdm",
    "dm21",
    "vr_dm21",
    "rosdhb",
    "clip21_sgd2m",
    "delayed_momentum",
    "nsgdm",
]
RuleName = Literal[
    "average",
    "median",
    "trimmed_mean",
    "geometric_median",
    "mixed_trimmed_mean",
    "mixed_median",
    "mixed_geometric_median",
    "mixture",
]
AttackName = Literal["little", "empire", "mimic", "label_flipping"]


@dataclasses.dataclass(frozen=True)
class Family:
    """The family: all combinations of these are trained, but for those that are refused."""

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """digits needs no download."""
    algorithm: tuple[AlgorithmName, ...] = get_args(AlgorithmName)
    """See docs/momentum-family.md."""
    baseline: AlgorithmName = "worker_momentum"
    """The one of them that the others are compared with."""
    rule: tuple[RuleName, ...] = ("mixed_trimmed_mean",)
    """Defences; mixed: after nearest-neighbour mixing; mixture: one of three in each step."""
    attack: tuple[AttackName, ...] = ("little", "empire", "mimic", "label_flipping")
    """Of all Byzantine workers that take part."""
    participation: tuple[float, ...] = (1.0, 0.2)
    """Share of the workers that take part in a step."""
    heterogeneity: tuple[str, ...] = ("iid", "dirichlet:0.1")
    """Of the workers' data: iid, extreme, gamma:SIMILARITY, dirichlet:ALPHA."""
    learning_rate: Annotated[tuple[float, ...] | None, command_line.OWN] = None
    """To choose from for each algorithm: 0.1 0.25 0.5 1, but 0.5 alone of MNIST and
    Fashion-MNIST."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of initial weights and batches."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of all runs."""

    n: int = 20
    """Workers, Byzantine ones included."""
    f: int = 4
    """Byzantine workers; a rule tolerates as large a share of those who take part, at least one."""
    sampling: Literal["by_chance", "in_proportion"] = "by_chance"
    """How many of some participants are Byzantine: at times more than tolerated, or never."""
    steps: int = 120
    """Steps of a run."""
    batch_size: int = 16
    """Examples a worker and a step."""
    hidden: int = 16
    """Width of the network's one hidden layer."""
    validation: float = 0.2
    """Share of the training images that learning rates are chosen on."""
    partition_seed: int = 0
    """Of the partition of the data, the same in all runs."""


@dataclasses.dataclass(frozen=True)
class Algorithms:
    """Numbers that the algorithms share."""

    momentum: float = 0.9
    """μ of every average, m ← μ m + (1 - μ) gradient."""
    kept: float = 0.1
    """Share of the coordinates that a compressed message keeps."""
    bound: float = 0.1
    """On the length of a clipped difference (clip21_sgd2m)."""
    target: float = 0.8
    """Accuracy whose cost in gradients and bits is told."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/momentum_family")
    allow_mixed: bool = False
    """Let runs of different code stand in one table."""


@dataclasses.dataclass(frozen=True)
class Options(Family, Setting, Algorithms, Storage, Output):
    """The training, and how it is done."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(
    algorithm=("worker_momentum", "ef21_sgdm", "delayed_momentum"),
    attack=("little", "label_flipping"),
    participation=(1.0,),
    heterogeneity=("iid",),
    learning_rate=(0.5,),
    seeds=(1, 2),
    n=7,
    f=2,
    steps=20,
    hidden=4,
    target=0.3,
)
