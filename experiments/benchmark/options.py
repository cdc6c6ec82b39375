"""The benchmark: worst-case test accuracy of every rule, by f and heterogeneity.

All combinations of the options are trained; a rule's learning rate is chosen by its worst attack on
a validation split. Ends in the ranking, what mixing and momentum add, heatmaps and CSV files. The
same command again runs only what is missing. The default takes 8 minutes of one core. --shard 1/2
and --shard 2/2 share the work of one command among two processes or machines.

A rule or an attack of your own is given as module:name, such as --rule mypackage.myrule:my_rule;
given alone it joins the default ones, whose runs are taken from the results or from those that are
kept with the benchmark.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments.shared.formats import Output
from experiments.shared.options import command_line

SEEDS = (1, 2, 3)
FAMILY = command_line.hint("one of each family")


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid: all combinations of these are trained."""

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """digits needs no download."""
    rule: Annotated[tuple[str, ...], command_line.ALL] = ()
    """Rules by name, or your own as module:name."""
    pre: tuple[str, ...] = ("none",)
    """Before them: none, nnm, arc, bucketing. Give none nnm to see what mixing adds."""
    attack: Annotated[tuple[str, ...], FAMILY] = ()
    """Attacks by name, on labels and searched through the rule too, or your own as module:name."""
    f: tuple[int, ...] = (2, 6)
    """Byzantine workers, present and tolerated."""
    heterogeneity: tuple[str, ...] = ("iid", "dirichlet:1")
    """Of the workers' data: iid, extreme, gamma:SIMILARITY, dirichlet:ALPHA."""
    momentum: tuple[float, ...] = (0.9,)
    """μ of m ← μ m + (1 - μ) gradient, at the workers. Give 0 too to see what it adds."""
    learning_rate: tuple[float, ...] = (0.1, 0.5)
    """Of which each rule, f and heterogeneity has its own, by its worst attack."""
    seeds: tuple[int, ...] = SEEDS
    """Of initial weights and batches."""
    full: bool = False
    """All that the kept table of digits has, in place of these: f/n from 0.1 to 0.45 on three kinds
    of data, every attack, pre-aggregators and momentum 0. A dry run says what it takes."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of all runs."""

    n: int = 20
    """Workers, Byzantine ones among them."""
    steps: int = 100
    """Steps of a run."""
    batch_size: int = 16
    """Examples a worker and a step."""
    hidden: int = 16
    """Width of the network's one hidden layer."""
    weight_decay: float = 1e-4
    """Times the parameters, in each update."""
    validation: float = 0.2
    """Share of the training images that learning rates are chosen on."""
    partition_seed: int = 0
    """Of the partition of the data, the same in all runs."""
    evaluations: int = 12
    """How often an adaptive attack evaluates the rule in a step."""
    root_examples: int = 100
    """Training images that the server holds too, for a rule that judges by them."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/benchmark")
    shard: str = "1/1"
    """K/N: the K-th of N shares of the runs, each of which is computed by a command of its own.
    Their results may go into one folder, or be copied into one. Whichever is last has all."""
    allow_mixed: bool = False
    """Let runs of different code stand in one table."""
    dry_run: bool = False
    """Say how many runs there are and about how long they take, and run none."""


@dataclasses.dataclass(frozen=True)
class Options(Grid, Setting, Storage, Output):
    """The training, and how it is done."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(
    rule=("median", "krum"),
    pre=("none",),
    attack=("none", "sign_flipping", "label_flipping"),
    f=(1, 3),
    heterogeneity=("iid",),
    seeds=(1, 2),
    n=8,
    steps=10,
    hidden=4,
)
