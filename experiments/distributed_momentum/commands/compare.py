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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pandas as pd
import tyro
from matplotlib import pyplot as plt

from experiments.distributed_momentum.figures import certificates, comparison
from experiments.distributed_momentum.figures.panels import PaperName, named
from experiments.distributed_momentum.grid.cells import AttackName, Cell, PlaceName, cells
from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.grid.rules import Conventions, RuleName
from experiments.distributed_momentum.grid.settings import DatasetName, Precision
from experiments.distributed_momentum.running.simulate import CHECKPOINT_EVERY, check, simulate
from experiments.distributed_momentum.running.together import together
from experiments.shared.files import save_figure, save_table
from experiments.shared.formats import Output, Printer
from experiments.shared.mixing import refuse_mixed
from experiments.shared.options import command_line
from experiments.shared.options.checks import as_name, check_options
from experiments.shared.options.command_line import OWN
from experiments.shared.options.question import folder_of
from experiments.shared.progress import bar, tell
from experiments.shared.run import CHECKPOINTED, run
from simbyz import data, records
from simbyz.sweeps.checkpoints import check_every

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


class Results(NamedTuple):
    runs: pd.DataFrame  # one row a run
    steps: pd.DataFrame  # one row a step
    comparison: pd.DataFrame  # one row a comparison of places
    cells: list[Cell]


def prepare(options: Options) -> tuple[list[Run], data.Dataset]:
    """The runs asked for and their data, everything checked that can be before the first step.

    Raises:
      ValueError, OSError: what is wrong and what is allowed, in one line.
    """
    check_options(options, "attack", "momentum_at", "nesterov")
    check_every(options.checkpoint_every)
    chosen = cells(
        options.dataset,
        rules=options.rule or None,
        attacks=options.attack,
        places=options.momentum_at,
        nesterov=[value == "on" for value in options.nesterov],
        learning_rates=options.learning_rate or None,
        n=options.n,
        f=options.f or None,
        conventions=options.conventions,
        momentum=options.momentum,
        batch_size=options.batch_size,
        steps=options.steps,
        precision=options.precision,
        certify=options.certify,
    )
    dataset = data.load(options.dataset, data_dir=options.data_dir)
    check(chosen, dataset)
    runs = [Run(cell, seed) for cell in chosen for seed in options.seeds]
    if not options.allow_mixed:
        refuse_mixed(together(runs, options.results))
    records.prepare_folder(options.results)
    records.clean(options.results)
    return runs, dataset


def main(options: Options) -> Results:
    """Run what is asked for and not on disk yet, and read all of it back."""
    return compute(*prepare(options), options.results, **_simulation(options))


def _simulation(options: Options) -> dict[str, Any]:
    return {
        "checkpoint_every": options.checkpoint_every,
        "save_parameters": options.save_parameters,
    }


def compute(runs: Sequence[Run], dataset: data.Dataset, folder: Path, **simulation: Any) -> Results:
    """The results of the runs; `simulation` are options of `simulate`."""
    total = sum(run.cell.steps for run in runs)
    with bar(total, "step") as progress:  # which `simulate` stops, with a checkpoint
        simulate(runs, dataset, folder, progress, **simulation)
    chosen = list(dict.fromkeys(run.cell for run in runs))
    table, steps = comparison.read(folder, chosen, list(dict.fromkeys(run.seed for run in runs)))
    return Results(table, steps, comparison.compare(table, chosen), chosen)


def plot(results: Results, folder: Path, paper: PaperName = "screen") -> list[Path]:
    """Accuracy and variance-norm ratio by step, as PNG and PDF files; one pair a learning rate and
    Nesterov setting.
    """
    files = []
    kinds = dict.fromkeys((cell.learning_rate, cell.nesterov) for cell in results.cells)
    for rate, nesterov in kinds:
        shown = [c for c in results.cells if (c.learning_rate, c.nesterov) == (rate, nesterov)]
        name = f"{shown[0].dataset}-lr_{as_name(rate)}" + "-nesterov" * nesterov
        for what, draw in (
            ("accuracy", comparison.plot_accuracy),
            ("ratio", comparison.plot_ratio),
        ):
            figure = draw(results.steps, shown, paper)
            for ending in ("png", "pdf"):
                files.append(folder / f"{named(f'{name}-{what}', paper)}.{ending}")
                save_figure(figure, files[-1], dpi=150)
            plt.close(figure)
    return files


def execute(
    options: Options, prepared: tuple[list[Run], data.Dataset], stop: Callable[[], bool]
) -> None:
    """Run what is missing; print and draw all of it."""
    runs, dataset = prepared
    names = sorted({run.cell.name for run in runs if not run.cell.in_paper})
    if options.dataset != "digits" and names:
        print(f"not in the paper: {', '.join(names)}")
    if dataset.notice:
        print(f"note: {dataset.notice}")
    results = compute(runs, dataset, options.results, **_simulation(options), stop=stop)
    title = f"{options.dataset}, seeds {options.seeds}"
    if options.conventions == "released" and any(cell.rule == "krum" for cell in results.cells):
        title += "; krum: multi_krum, by the program's conventions"
    folder = folder_of(options, Comparison, Setting, but=("certify",))
    files = []
    if not results.comparison.empty:
        comparison.print_table(results.comparison, title, Printer(options.format))
        files.append(folder / "comparison.csv")
        save_table(results.comparison, files[-1])
    tell("drawing pictures")
    files += plot(results, folder, options.paper)
    if options.certify and not results.comparison.empty:
        certificates.print_tables(results.runs, title, Printer(options.format))
        files += certificates.plot(results.runs, options.results, folder, options.paper)
    print(f"files: {', '.join(file.name for file in files)} in {folder}")
    print(f"results: {options.results} ({len(results.runs)} runs)")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "distributed_momentum",
        __doc__,
        prepare,
        execute,
        stopped=CHECKPOINTED,
    )
