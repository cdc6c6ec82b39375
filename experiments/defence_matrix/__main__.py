"""The defence matrix: test accuracy under the worst attack, by defence, f and heterogeneity.

Every combination of the options is trained; hyperparameters are chosen by their worst attack on a
validation split. Ends in a table, heatmaps per rule and one of the best defence. The same command
again runs only what is missing. The default takes several minutes on two cores.
"""

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from experiments.defence_matrix import pictures, report
from experiments.defence_matrix.choose import matrix
from experiments.defence_matrix.defences import PreName, RuleName
from experiments.defence_matrix.runs import Run, parse_heterogeneity, product, share, unfinished
from experiments.defence_matrix.simulate import check, code, simulate, split
from experiments.distributed_momentum.running.mixing import completed, refuse_different_code
from experiments.shared import command_line
from experiments.shared.command_line import parse
from experiments.shared.devices import prepare_devices
from experiments.shared.option_checks import check_options, check_seeds
from experiments.shared.plain_warnings import print_plain_warnings
from experiments.shared.progress import Progress
from experiments.shared.stopping import stopping
from simbyz import records
from simbyz.data import Dataset, load
from simbyz.records.divergence import COLUMNS, diverged_steps

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
    """What the matrix has: all combinations of these are trained."""

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
    f: tuple[int, ...] | None = None
    """Byzantine workers, present and tolerated; they come on top of the honest ones. If not given
    1 2 4, but 1 4 of MNIST and Fashion-MNIST, to have the whole in ten minutes."""
    heterogeneity: tuple[str, ...] = ("gamma:1", "gamma:0.66", "gamma:0.33", "gamma:0")
    """Of the honest workers' data: iid, extreme, gamma:SIMILARITY, dirichlet:ALPHA."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of initial weights and batches."""


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What is chosen for each defence, by its worst attack on the validation split."""

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
    certify: bool = False
    """Hold every step against theory, too: more columns of the runs and of the CSV."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/defence_matrix")
    allow_mixed: bool = False
    """Let runs of different code stand in one table."""


@dataclasses.dataclass(frozen=True)
class Options(Matrix, Tuning, Setting, Storage):
    """What is trained, and how."""


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
F = {"digits": (1, 2, 4), "mnist": (1, 4), "fashion_mnist": (1, 4)}
AXES = ("rule", "pre", "f", "heterogeneity", "attack")
CHOICES = ("learning_rate", "momentum", "weight_decay")


def runs_of(options: Options) -> list[Run]:
    axes = {name: getattr(options, name) for name in (*AXES, *CHOICES)}
    shared = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(Run)
        if field.name not in axes and field.name != "seed"
    }
    return product(shared, axes | {"seed": options.seeds})


def prepare(options: Options) -> tuple[list[Run], Dataset]:
    """Check everything that can be before the first step.

    Raises:
      ValueError, OSError: what is wrong and what is allowed, in one line.
    """
    if options.f is None:
        options = dataclasses.replace(options, f=F[options.dataset])
    check_options(options, *AXES, *CHOICES)
    for name in ("steps", "batch_size", "hidden", "evaluations"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}")
    if options.honest < 2:
        raise ValueError(f"honest must be at least 2, got {options.honest}")
    for f in options.f or ():
        if f < 1:
            raise ValueError(f"f must be at least 1, got {f}")
    for rate in options.learning_rate:
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"learning_rate must be positive and finite, got {rate}")
    for momentum in options.momentum:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, got {momentum}")
    for decay in options.weight_decay:
        if not (math.isfinite(decay) and decay >= 0):
            raise ValueError(f"weight_decay must be at least 0 and finite, got {decay}")
    check_seeds([options.partition_seed])
    for level in options.heterogeneity:
        parse_heterogeneity(level)
    runs = runs_of(options)
    check(runs)
    dataset = load(options.dataset, data_dir=options.data_dir)
    training, _ = split(dataset, options.validation)
    size = len(training.train_labels)
    if options.batch_size > size:
        raise ValueError(
            f"batch_size must be from 1 to {size}, the training images of {dataset.name} without "
            f"validation, got {options.batch_size}"
        )
    for level in options.heterogeneity:
        share(level, training.train_labels, options.honest, options.partition_seed)
    if not options.allow_mixed:
        todo = {run.file: run.name for run in unfinished(options.results, runs)}
        files = {run.file for run in runs}
        refuse_different_code(completed(todo, files, options.results, code()))
    records.prepare_folder(options.results)
    return runs, dataset


def main(options: Options) -> pd.DataFrame:
    """Run what is asked for and not on disk yet; returns the matrix."""
    return compute(options, *prepare(options))


def compute(
    options: Options,
    runs: Sequence[Run],
    dataset: Dataset,
    stop: Callable[[], bool] = lambda: False,
) -> pd.DataFrame:
    """The matrix of these runs, from their files."""
    records.clean(options.results)
    progress = Progress(total=len(runs) * options.steps)
    try:
        simulate(runs, dataset, options.results, progress.add, stop=stop)
    finally:
        progress.close()
    order = {run.file: place for place, run in enumerate(runs)}
    found = records.read_runs(options.results)
    found = found[found["file"].isin(order)]
    steps = records.read_steps(options.results, files=list(order), columns=COLUMNS)
    found = found.assign(diverged_step=found["digest"].map(diverged_steps(steps)))
    return matrix(found.iloc[found["file"].map(order).argsort()])


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """The table as CSV, and each figure as PDF and PNG."""
    paths = [folder / "defence_matrix.csv"]
    table.to_csv(paths[0], index=False)
    for (name, figure), ending in itertools.product(pictures.figures(table), ("png", "pdf")):
        paths.append(folder / f"{name}.{ending}")
        figure.savefig(paths[-1], dpi=110)
    return paths


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 done, 2 the user's mistake, 130 or 143 stopped, 1 anything else."""
    options = parse(Options, arguments, "defence_matrix", __doc__)
    try:
        prepared = prepare(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        with stopping() as stop:
            table = compute(options, *prepared, stop)
        report.print_matrix(
            table,
            f"{options.dataset}, {options.honest} honest workers, {options.steps} steps, "
            f"{len(set(options.seeds))} seeds",
        )
        paths = write(table, options.results)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        return stop.exit_code
    print(f"written: {paths[0]} and {len(paths) - 1} pictures beside it")
    return 0


if __name__ == "__main__":
    prepare_devices()
    print_plain_warnings()
    sys.exit(command())
