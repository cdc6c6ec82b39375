"""Speed on this machine, beside the floor and the peers.

Float32, compiled, warm, every call blocked on; what is compared takes turns, and medians and ratios
are given. All but `grid` and `gpu` keep to one core.

`rules` times every aggregation rule: the floor is a sum of the rows (one pass over the n × d stack)
and the n × n × d matrix product that distances take. ByzFL is timed beside where it is installed
(pip install '.[peers]'), and the paper's released program where --released gives its folder.

`step` times a training step of the paper's cells under every rule: the floor is the matrix products
of its network at the rate of a 1024 × 1024 product, measured in the same run, and passes over the
stack.

`run` times whole runs with all metrics and evaluations, beside their gradients alone, and fresh
processes up to their first step.

`grid` counts the programs that the paper's 3,680 runs compile, measures how well a device a core
uses the cores, and estimates the hours of the MNIST and Fashion-MNIST half.

`searches` times attacks that search their factor against the rule, beside one aggregation.

`memory` shows what compiled steps ask for, beside the stack and the workers' momenta.

`gpu` checks an accelerator in one command: that rules and runs give the CPU's values, how fast
steps, sweeps and convolutions are beside what the device can do, and how long the grid would take.
Its results are lines of JSON, each written at once (docs/speed-gpu.md).

`pack` and `unpack` carry a cached data set to a machine without a network.

The others print a table and write it as CSV, with a picture.
"""

import dataclasses
import typing
from pathlib import Path
from typing import Annotated, Literal

import tyro

Clock = Literal["wall", "cpu"]
PartName = Literal["ceilings", "right", "training", "timed", "convolution", "widths", "projection"]
DatasetName = Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"]


@dataclasses.dataclass(frozen=True)
class Common:
    results: Path = Path("results/speed")
    """Folder of tables and pictures."""


@dataclasses.dataclass(frozen=True)
class Rules(Common):
    """Every aggregation rule."""

    n: int | None = None
    """Workers: with --d and --f, one size in place of the four of the table."""
    d: int | None = None
    """Parameters."""
    f: int | None = None
    """Byzantine workers, present and tolerated."""
    rule: tuple[str, ...] = ()
    """Names of rules; all if none is given."""
    repetitions: int = 7
    """Of which the median is given."""
    peers: bool = True
    """Time other libraries beside, where they are installed."""
    released: Path | None = None
    """The folder of a checkout of github.com/LPD-EPFL/ByzantineMomentum."""


@dataclasses.dataclass(frozen=True)
class Step(Common):
    """A training step under every rule."""

    dataset: DatasetName = "mnist"
    f: tuple[int, ...] = ()
    """Byzantine workers; the paper's if none is given."""
    rule: tuple[str, ...] = ()
    """The paper's names of rules; all that n and f bear if none is given."""
    steps: int = 50
    """Steps of the timed program."""
    repetitions: int = 5
    """Of which the median is given."""
    clock: Clock = "wall"
    """cpu: the time that this process was given, where others compete for the core."""


@dataclasses.dataclass(frozen=True)
class Run(Common):
    """Whole runs, and fresh processes up to their first step."""

    dataset: DatasetName = "mnist"
    f: tuple[int, ...] = ()
    """Byzantine workers; the paper's larger if none is given."""
    rule: tuple[str, ...] = ()
    """The paper's names of rules; all that n and f bear if none is given."""
    steps: int | None = None
    """Steps of a run; the paper's if not given."""
    repetitions: int = 3
    """Of which the median is given."""
    clock: Clock = "wall"
    """cpu: the time that this process was given, where others compete for the core."""
    start: bool = True
    """Time fresh processes too."""


@dataclasses.dataclass(frozen=True)
class Grid(Common):
    """Programs and hours of the paper's grid, on all cores."""

    quick: bool = False
    """Without Nesterov, MNIST only, one chunk of steps a run, whose time is scaled up."""
    devices: bool = True
    """Measure how well a device a core uses the cores."""
    clock: Clock = "wall"
    """cpu: the time that this process was given, over the devices; not for `devices`."""
    steps: int | None = None
    """Steps of a run; the paper's if not given."""
    dataset: tuple[Literal["mnist", "fashion_mnist", "cifar10", "cifar100"], ...] = (
        "mnist",
        "fashion_mnist",
    )
    """Data sets of the grid."""


@dataclasses.dataclass(frozen=True)
class Searches(Common):
    """Searched attacks, of 16 evaluations."""

    n: int | None = None
    """Workers: with --d and --f, one size in place of the two of the table."""
    d: int | None = None
    """Parameters."""
    f: int | None = None
    """Byzantine workers, present and tolerated."""
    rule: tuple[str, ...] = ()
    """The paper's names of rules; all that n and f bear if none is given."""
    repetitions: int = 5
    """Of which the median is given."""
    clock: Clock = "wall"
    """cpu: the time that this process was given, where others compete for the core."""


@dataclasses.dataclass(frozen=True)
class Memory(Common):
    """The memory that compiled steps ask for."""

    n: int | None = None
    """Workers: with --d, one size in place of the table's."""
    d: int | None = None
    """Parameters."""
    rule: tuple[str, ...] = ("average", "median", "krum")
    """Names of rules."""


@dataclasses.dataclass(frozen=True)
class Gpu(Common):
    """All that is to be known of an accelerator, in one command."""

    parts: tuple[PartName, ...] = typing.get_args(PartName)
    """In this order; of several each is a process of its own."""
    minutes: float = 7.5
    """For all of them together; what is not reached is named."""
    small: bool = False
    """A rehearsal for a CPU: the same calls on small sizes, whose times mean nothing."""


@dataclasses.dataclass(frozen=True)
class Carried(Common):
    """A cached data set, in files of at most 56 MiB in the folder of results."""

    dataset: Literal["mnist", "fashion_mnist", "cifar10", "cifar100"] = "cifar10"


@dataclasses.dataclass(frozen=True)
class Pack(Carried):
    """Out of the cache (SIMBYZ_CACHE) into files that can be carried."""


@dataclasses.dataclass(frozen=True)
class Unpack(Carried):
    """From such files into the cache."""


Options = (
    Annotated[Rules, tyro.conf.subcommand("rules")]
    | Annotated[Step, tyro.conf.subcommand("step")]
    | Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Grid, tyro.conf.subcommand("grid")]
    | Annotated[Searches, tyro.conf.subcommand("searches")]
    | Annotated[Memory, tyro.conf.subcommand("memory")]
    | Annotated[Gpu, tyro.conf.subcommand("gpu")]
    | Annotated[Pack, tyro.conf.subcommand("pack")]
    | Annotated[Unpack, tyro.conf.subcommand("unpack")]
)
