"""The paper's grid, or a part of it: 736 configurations × 5 seeds.

A run on disk is never run again, so the same command goes on where it stopped. What fails is named
at the end, and the rest is run.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments.distributed_momentum.grid.cells import AttackName, PlaceName
from experiments.distributed_momentum.grid.rules import Conventions, RuleName
from experiments.distributed_momentum.options.work import Work
from experiments.shared.options import command_line
from experiments.shared.options.command_line import ALL
from experiments.shared.options.hosts import Hosts

GridDataset = Literal["mnist", "fashion_mnist", "cifar10", "cifar100"]


@dataclasses.dataclass(frozen=True)
class Selection:
    """The part of the grid that is run; without these, all of it."""

    dataset: Annotated[tuple[GridDataset, ...], ALL] = ()
    """MNIST first."""
    rule: Annotated[tuple[RuleName, ...], ALL] = ()
    """Defences; krum is the library's multi_krum by the paper's program's conventions."""
    attack: tuple[AttackName, ...] = ("none", "little", "empire")
    """none: the unattacked runs that the attacked ones are compared with."""
    f: Annotated[tuple[int, ...], ALL] = ()
    """Byzantine workers; of an unattacked run, those that it goes without."""
    momentum_at: Annotated[tuple[PlaceName, ...], ALL] = ()
    """Where momentum is kept."""
    nesterov: Annotated[tuple[Literal["off", "on"], ...], ALL] = ()
    """Nesterov's momentum."""
    learning_rate: Annotated[tuple[float, ...], ALL] = ()
    """Before its decay."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of initial weights, batches and what is drawn else."""
    conventions: Conventions = "released"
    """krum and bulyan as the paper's program defines them, or as they were published."""
    certify: bool = False
    """Hold every step against theory, too: `analyse` and `plot` show what came of it."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/distributed_momentum")


@dataclasses.dataclass(frozen=True)
class Slurm:
    """Where the grid is run, and what each job on a cluster may use."""

    launcher: Literal["local", "slurm"] = "local"
    """slurm: a job for each compiled program, which this command submits and waits for."""
    partition: Annotated[str, command_line.hint("the cluster's own")] = ""
    """Of the cluster."""
    time: int = 240
    """Minutes of a job; one that ends before its runs are done goes on in another."""
    memory: float = 8.0
    """GB of a job."""
    gpus: int = 0
    """Of a job, all on one node."""
    cpus: int = 4
    """Of a job."""
    retries: int = 2
    """Times that a failed job is tried again; a job that finished a run did not fail."""
    jobs_at_once: int = 64
    """Jobs that run at the same time, at most."""
    sbatch: Annotated[tuple[str, ...], command_line.NONE] = ()
    """More options of sbatch, such as account=lab qos=high."""


@dataclasses.dataclass(frozen=True)
class Options(Selection, Work, Storage, Hosts, Slurm):
    """Empty: all that the paper has."""
