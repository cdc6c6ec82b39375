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
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.distributed_momentum.grid.cells import cells
from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.grid.rules import Conventions
from experiments.distributed_momentum.grid.settings import APPENDIX
from experiments.distributed_momentum.running.work import Work, carry_out, prepare_work
from experiments.shared.options import command_line
from experiments.shared.options.checks import check_options
from experiments.shared.options.command_line import ALL
from experiments.shared.run import CHECKPOINTED, run


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


def select(options: Options) -> list[Run]:
    """The runs asked for.

    Raises:
      ValueError: what is wrong and what is allowed, in one line.
    """
    check_options(options, "attack", "momentum_at")
    if unknown := set(options.f) - set(APPENDIX.f):
        raise ValueError(f"the appendix has --f 4 and --f 2, got {min(unknown)}")
    depth, width = options.depth, options.width
    if depth is not None and (depth < 10 or depth % 6 != 4):
        raise ValueError(f"depth must be 10, 16, 22, 28 ..., got {depth}")
    if options.batch_size is not None and options.batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {options.batch_size}")
    chosen = cells(
        "cifar10",
        attacks=options.attack,
        places=options.momentum_at,
        nesterov=(True,),
        f=options.f or None,
        conventions=options.conventions,
        own=APPENDIX,
        depth=depth,
        width=width,
        batch_size=options.batch_size,
        steps=options.steps,
    )
    chosen = [
        cell
        for cell in chosen
        if not options.rule or cell.attack == "none" or cell.rule in options.rule
    ]
    if set(options.attack) != {"none"} and all(cell.attack == "none" for cell in chosen):
        raise ValueError(f"the appendix has no {options.rule[0]} with --f {options.f[0]}")
    return [Run(cell, seed) for cell in chosen for seed in options.seeds]


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "distributed_momentum appendix",
        __doc__,
        lambda options: prepare_work(options, select(options)),
        carry_out,
        stopped=CHECKPOINTED,
    )
