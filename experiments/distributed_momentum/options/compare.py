"""Momentum at the workers against two attacks: the experiment of the ICLR 2021 paper.

Without options: the paper's comparison at small scale, on scikit-learn's digits. Every option but
--n, --momentum, --batch-size and --steps takes several values, and all combinations are run; a
setting that the paper does not have is allowed, and named in the results. What is on disk already
is not run again.

Put a word before the options for more: `grid` runs the paper's 736 configurations or a part of
them, `analyse` counts what they say, `plot` draws them, `collect` keeps them in a small table,
`report` writes all of it up, `unfinished` lists what stopped runs left under way. Each has its own
--help.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.distributed_momentum.grid.cells import AttackName, PlaceName
from experiments.distributed_momentum.grid.rules import Conventions, RuleName
from experiments.distributed_momentum.grid.settings import DatasetName, Precision
from experiments.shared.formats import Output, PaperName
from experiments.shared.options import command_line
from experiments.shared.options.command_line import CHECKPOINT_EVERY, OWN

BORNE = tyro.conf.arg(help_behavior_hint="(default: all that n and f allow)")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The comparison: all combinations of these are run."""

    dataset: DatasetName = "digits"
    """digits needs no download; the others come through TensorFlow Datasets, or the cache."""
    rule: Annotated[tuple[RuleName, ...], BORNE] = ()
    """Defences; krum is the library's multi_krum by the paper's program's conventions."""
    attack: tuple[AttackName, ...] = ("none", "little", "empire")
    """none: the unattacked average of the n - f honest workers."""
    f: Annotated[tuple[int, ...], OWN] = ()
    """Byzantine workers, present and tolerated."""
    momentum_at: tuple[PlaceName, ...] = ("update", "worker")
    """Where momentum is kept."""
    nesterov: tuple[Literal["off", "on"], ...] = ("off",)
    """Nesterov's momentum."""
    learning_rate: Annotated[tuple[float, ...], OWN] = ()
    """Before its decay."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of initial weights, batches and what is drawn else."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of all runs."""

    n: Annotated[int | None, OWN] = None
    """Workers, Byzantine ones included."""
    batch_size: Annotated[int | None, OWN] = None
    """Examples a worker and a step."""
    steps: Annotated[int | None, OWN] = None
    """Steps of a run."""
    momentum: Annotated[float | None, OWN] = None
    """Factor of momentum."""
    conventions: Conventions = "released"
    """krum and bulyan as the paper's program defines them, or as they were published."""
    precision: Annotated[Precision | None, OWN] = None
    """The networks' precision: default is float32, TF32 in a recent GPU's products."""
    certify: bool = False
    """Also: each aggregate's distance from the honest mean, and the bound published."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/distributed_momentum")
    checkpoint_every: float = CHECKPOINT_EVERY
    """Seconds from one checkpoint to the next, at least; inf: only when stopped."""
    save_parameters: bool = False
    """Also keep what each run trained, beside its file; runs on disk without are computed again."""
    allow_mixed: bool = False
    """Let runs of different code or settings stand in one table."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """How pictures are drawn."""

    paper: PaperName = "screen"
    """For a column or the width of a page: 8.5 or 17.8 cm wide, with letters of 8 points."""


@dataclasses.dataclass(frozen=True)
class Options(Comparison, Setting, Storage, Output, Pictures):
    """Empty or None: the data set's own setting."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(
    rule=("median", "krum"), attack=("none", "little"), n=9, f=(3,), steps=20, seeds=(1, 2)
)
