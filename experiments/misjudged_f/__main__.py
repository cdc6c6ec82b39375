"""Rules that tolerate f̂ Byzantine workers where f are there: what that costs, beside theory.

Every combination of the options is run. Quadratics have known constants, so that their error is
exact, and stands beside the floor of theory and the rule's published bound; of images it is the
accuracy. Ends in a table a problem, curves over f̂ and two CSV files. The default takes three
minutes on one core, most of them to compile.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from experiments.defence_matrix.runs import share
from experiments.misjudged_f import pictures, tables
from experiments.misjudged_f.lanes import NOBODY
from experiments.misjudged_f.problems import QUADRATIC, TILTS, is_of
from experiments.misjudged_f.simulate import Run, Setting, check, measure
from experiments.shared.files import save_figure, save_table
from experiments.shared.formats import Output, Printer
from experiments.shared.options import command_line
from experiments.shared.options.checks import by_default, check_memory, check_options
from experiments.shared.options.question import folder_of
from experiments.shared.progress import bar, tell
from experiments.shared.run import run, start
from simbyz import records
from simbyz.data import Dataset, load

RuleName = Literal[
    "average",
    "median",
    "trimmed_mean",
    "krum",
    "multi_krum",
    "geometric_median",
    "minimum_diameter_averaging",
    "smea",
    "caf",
    "mixed_median",
    "mixed_trimmed_mean",
    "mixed_krum",
    "mixed_geometric_median",
]
AttackName = Literal["mimic", "little", "flipped", "negated"]


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid: all combinations of these are run."""

    problem: tuple[Literal["quadratic", "digits", "mnist", "fashion_mnist"], ...] = (
        "quadratic",
        "digits",
    )
    """What is learnt; digits needs no download."""
    rule: tuple[RuleName, ...] = ("trimmed_mean", "mixed_trimmed_mean", "krum", "median")
    """Defences. krum counts n - f̂ - 1 neighbours; mixed: after nearest-neighbour mixing."""
    attack: tuple[AttackName, ...] = ("mimic", "little", "flipped", "negated")
    """As the first worker; a little is enough; the honest mean times -1; and times -100."""
    f: tuple[int, ...] = (0, 1, 2, 3)
    """Byzantine workers that are there."""
    tolerated: tuple[int, ...] = (0, 1, 2, 3, 4)
    """f̂, how many of them the rule is told to tolerate."""
    data: tuple[str, ...] = ("minority", "spread", "dirichlet:1")
    """Of the honest workers: of quadratics minority (f̂ of them differ from the others) and spread
    (all differ), of images iid, extreme, gamma:SIMILARITY, dirichlet:ALPHA."""
    seeds: tuple[int, ...] = (1, 2)
    """Of initial weights, noise and batches."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/misjudged_f")


@dataclasses.dataclass(frozen=True)
class Options(Grid, Setting, Storage, Output):
    """The training, and how it is done."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(
    problem=("quadratic",),
    rule=("trimmed_mean",),
    data=("minority", "spread"),
    f=(0, 1, 2),
    tolerated=(1,),
    n=7,
    steps=120,
    seeds=(1,),
)
AXES = ("problem", "rule", "attack", "f", "tolerated", "data")


class Results(NamedTuple):
    runs: pd.DataFrame  # one row a run
    summary: pd.DataFrame  # one row a problem, rule, f and f̂


def runs_of(options: Options) -> list[Run]:
    """All combinations, each problem with its own data, one run a seed without attackers."""
    axes = {name: getattr(options, name) for name in AXES} | {"seed": options.seeds}
    product = itertools.product(*(axes[name] for name in Run._fields))
    runs = [run for run in itertools.starmap(Run, product) if is_of(run.problem, run.data)]
    return list(dict.fromkeys(r._replace(attack=NOBODY) if r.f == 0 else r for r in runs))


def prepare(options: Options) -> dict[str, Dataset]:
    """Check everything that can be before the first step.

    Raises:
      ValueError, OSError: what is wrong and what is allowed, in one line.
    """
    check_options(options, *AXES)
    for name in ("f", "tolerated"):
        if least := [one for one in getattr(options, name) if one < 0]:
            raise ValueError(f"{name} must be at least 0, got {least[0]}")
    if options.n < 3:
        raise ValueError(f"n must be at least 3, of whom one may be Byzantine, got {options.n}")
    check_memory(4 * options.n**2, f"n = {options.n}")
    f, tolerated = max(options.f), max(options.tolerated)
    if f + tolerated >= options.n - 1:
        raise ValueError(
            f"f and tolerated must together be below n - 1 = {options.n - 1}, the floor's domain, "
            f"got {f}{by_default(options, 'f')} and {tolerated}{by_default(options, 'tolerated')}"
        )
    for problem in options.problem:
        if not any(is_of(problem, data) for data in options.data):
            kinds = "minority or spread" if problem == QUADRATIC else "a heterogeneity, such as iid"
            raise ValueError(f"data must name {kinds} for {problem}, got {' '.join(options.data)}")
    check(options.rule, options.n, options.tolerated)
    names: list[str] = [name for name in options.problem if name != QUADRATIC]
    datasets = {name: load(name, data_dir=options.data_dir) for name in names}
    for name, dataset in datasets.items():
        size = len(dataset.train_labels)
        if not 1 <= options.batch_size <= size:
            raise ValueError(
                f"batch_size must be from 1 to {size}, the training images of {name}, "
                f"got {options.batch_size}"
            )
        for data in set(options.data) - set(TILTS):
            share(data, dataset.train_labels, options.n, options.partition_seed)
    records.prepare_folder(options.results)
    return datasets


def main(options: Options) -> Results:
    """Run what is asked for."""
    return compute(options, prepare(options))


def compute(
    options: Options, datasets: dict[str, Dataset], stop: Callable[[], bool] = lambda: False
) -> Results:
    runs = runs_of(options)
    with bar(len(runs), "run", stop) as progress:
        found = measure(runs, options, datasets, progress)
    return Results(found, tables.summarise(found))


def write(options: Options, results: Results) -> list[Path]:
    """Tables of runs and of cells, and a picture a problem."""
    folder = folder_of(options, Grid, Setting)
    paths = [folder / "runs.csv", folder / "misjudged_f.csv"]
    for table, path in zip(results, paths, strict=True):
        save_table(table, path)
    for problem in options.problem:
        paths.append(folder / f"{problem}.png")
        save_figure(pictures.curves(results.summary, problem), paths[-1], dpi=110)
    return paths


def execute(options: Options, datasets: dict[str, Dataset], stop: Callable[[], bool]) -> None:
    """Run what is asked for; print and write all of it."""
    results = compute(options, datasets, stop)
    common = f"n = {options.n}, {options.steps} steps, {len(options.seeds)} seeds"
    titles: dict[str, str] = dict.fromkeys(options.problem, "")
    for problem in titles:
        constants = f"ζ = {options.zeta:g}, σ = {options.sigma:g}, " if problem == QUADRATIC else ""
        titles[problem] = f"{problem}, {constants}{common}"
    tables.print_tables(results.summary, titles, Printer(options.format))
    tell("drawing pictures")
    paths = write(options, results)
    print("written: " + ", ".join(map(str, paths)))


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(Options, arguments, "misjudged_f", __doc__, prepare, execute)


if __name__ == "__main__":
    start(command)
