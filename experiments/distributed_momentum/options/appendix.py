"""The paper's appendix: does momentum at the workers help a large network too?

Wide-ResNet 28-10 (36,489,290 parameters) on CIFAR-10, n = 11 workers with batches of 20: f = 4 with
krum and median, f = 2 with bulyan too; learning rate 0.02, 0.004 from step 8,000, 0.0008 from step
16,000; momentum 0.99 with Nesterov; 20,000 steps. As published, gradients are taken in inference
mode, so dropout is off, and the l2 factor of 5e-4 acts squared.

A run keeps some 30 vectors of 36 million numbers and its activations, 9 GB, and its products take
weeks on a CPU core: run it on a GPU, or with --depth 10 --width 1 to try it. Other options are
those of `python -m experiments.distributed_momentum grid`.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.distributed_momentum.grid.rules import Conventions
from experiments.distributed_momentum.grid.settings import APPENDIX
from experiments.distributed_momentum.options.work import Work
from experiments.shared.options import command_line
from experiments.shared.options.command_line import ALL


def of_appendix(value: int) -> Any:
    return tyro.conf.arg(help_behavior_hint=f"(default: the appendix's, {value:,})")


@dataclasses.dataclass(frozen=True)
class Selection:
    """The part of the appendix that is run."""

    rule: Annotated[tuple[Literal["krum", "median", "bulyan"], ...], ALL] = ()
    """Defences; krum is the library's multi_krum by the paper's program's conventions."""
    attack: tuple[Literal["none", "little", "empire"], ...] = ("none", "little", "empire")
    """none: the unattacked runs that the attacked ones are compared with."""
    f: Annotated[tuple[int, ...], ALL] = ()
    """Byzantine workers; of an unattacked run, those that it goes without."""
    momentum_at: tuple[Literal["update", "worker"], ...] = ("update", "worker")
    """Where momentum is kept."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of initial weights, batches and what is drawn else."""
    conventions: Conventions = "released"
    """krum and bulyan as the paper's program defines them, or as they were published."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of all runs; the appendix's own if not given."""

    depth: Annotated[int | None, of_appendix(28)] = None
    """Of the network, 6 k + 4."""
    width: Annotated[int | None, of_appendix(10)] = None
    """Factor of the channels."""
    batch_size: Annotated[int | None, of_appendix(APPENDIX.batch_size)] = None
    """Examples a worker and a step."""
    steps: Annotated[int | None, of_appendix(APPENDIX.steps)] = None
    """Steps of a run."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/wide_resnet")


@dataclasses.dataclass(frozen=True)
class Options(Selection, Setting, Work, Storage):
    """Empty or None: all that the appendix has, as it has it."""


# Seconds, not weeks: what the tests run.
SMOKE = Options(rule=("median",), f=(4,), seeds=(1,), depth=10, width=1, batch_size=2, steps=2)
