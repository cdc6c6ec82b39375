"""The defence matrix: test accuracy under the worst attack, by defence, f and heterogeneity.

Every combination of the options is trained; hyperparameters are chosen by their worst attack on a
validation split. Ends in a table, heatmaps per rule and one of the best defence. The same command
again runs only what is missing. The default takes several minutes on two cores.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from experiments.defence_matrix import pictures, tables
from experiments.defence_matrix.choose import matrix
from experiments.defence_matrix.defences import PreName, RuleName, of_root
from experiments.defence_matrix.runs import Run, product
from experiments.defence_matrix.simulate import check, code, simulate, split
from experiments.defence_matrix.training import check_levels, check_training
from experiments.shared.files import save_figure, save_table
from experiments.shared.formats import Output, Printer
from experiments.shared.mixing import refuse_other_code
from experiments.shared.options import command_line
from experiments.shared.options.checks import check_memory, check_options
from experiments.shared.options.question import folder_of
from experiments.shared.progress import Progress, tell
from experiments.shared.run import KEPT, run, start
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
    f: tuple[int, ...] | None = None
    """Byzantine workers, present and tolerated; they come on top of the honest ones. If not given
    1 2 4, but 1 4 of MNIST and Fashion-MNIST, to have the whole in ten minutes."""
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
    runs = product(shared, axes | {"seed": options.seeds})
    return [run if of_root(run.rule) else dataclasses.replace(run, root_examples=0) for run in runs]


def prepare(options: Options) -> tuple[list[Run], Dataset]:
    """Check everything that can be before the first step.

    Raises:
      ValueError, OSError: what is wrong and what is allowed, in one line.
    """
    if options.f is None:
        options = dataclasses.replace(options, f=F[options.dataset])
    check_options(options, *AXES, *CHOICES)
    for f in options.f or ():
        if f < 1:
            raise ValueError(f"f must be at least 1, got {f}")
    asking = [rule for rule in options.rule if of_root(rule)]
    if asking and not options.root_examples:
        raise ValueError(
            f"{asking[0]} judges by examples that the server holds: give --root-examples 100"
        )
    if options.root_examples and not asking:
        raise ValueError(f"root_examples acts on none of the rules, {' '.join(options.rule)}")
    check_memory(4 * options.honest**2, f"honest = {options.honest}")
    check_levels(options.heterogeneity)
    runs = runs_of(options)
    check(runs)
    dataset = load(options.dataset, data_dir=options.data_dir)
    training, _ = split(dataset, options.validation)
    if options.root_examples > len(training.train_labels):
        raise ValueError(
            f"root_examples must be at most {len(training.train_labels)}, the training images of "
            f"{training.name} without validation, got {options.root_examples}"
        )
    check_training(
        training,
        options.heterogeneity,
        options.honest,
        options.batch_size,
        options.partition_seed,
    )
    if not options.allow_mixed:
        named = [(run.name, run.configuration) for run in runs]
        refuse_other_code(named, options.results, code())
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
    files = [run.file for run in runs]
    found = records.read_runs(options.results, files=files)
    steps = records.read_steps(options.results, files=files, columns=COLUMNS)
    return matrix(found.assign(diverged_step=found["digest"].map(diverged_steps(steps))))


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """The table as CSV, and each figure as PDF and PNG."""
    paths = [folder / "defence_matrix.csv"]
    save_table(table, paths[0])
    for (name, figure), ending in itertools.product(pictures.figures(table), ("png", "pdf")):
        paths.append(folder / f"{name}.{ending}")
        save_figure(figure, paths[-1], dpi=110)
    return paths


def execute(
    options: Options, prepared: tuple[list[Run], Dataset], stop: Callable[[], bool]
) -> None:
    """Run what is missing; print and write the matrix."""
    table = compute(options, *prepared, stop)
    tables.print_matrix(
        table,
        f"{options.dataset}, {options.honest} honest workers, {options.steps} steps, "
        f"{len(options.seeds)} seeds",
        Printer(options.format),
    )
    tell("drawing pictures")
    paths = write(table, folder_of(options, Matrix, Tuning, Setting))
    print(f"written: {paths[0]} and {len(paths) - 1} pictures beside it")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(Options, arguments, "defence_matrix", __doc__, prepare, execute, stopped=KEPT)


if __name__ == "__main__":
    start(command)
