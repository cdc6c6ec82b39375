"""Study: the runs of the defence matrix, its table and heatmaps."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.defence_matrix import pictures, tables
from experiments.defence_matrix.choose import matrix
from experiments.defence_matrix.defences import of_root
from experiments.defence_matrix.lanes import SEARCHED
from experiments.defence_matrix.options import Matrix, Options, Setting, Tuning
from experiments.defence_matrix.runs import Run
from experiments.defence_matrix.simulate import check, code, simulate, split
from experiments.defence_matrix.training import check_levels, check_training
from experiments.shared.files import save_figures, save_table
from experiments.shared.formats import Printer, counted, tell_written
from experiments.shared.mixing import refuse_other_code
from experiments.shared.options.checks import check_memory, check_options, refuse_unused
from experiments.shared.options.question import folder_of
from experiments.shared.progress import Ask, drawing, never, run_all
from experiments.shared.runs import combinations
from simbyz import records
from simbyz.data import Dataset, load
from simbyz.records.divergence import COLUMNS, diverged_steps

F = {"digits": (1, 2, 4), "mnist": (1, 4), "fashion_mnist": (1, 4)}
AXES = ("rule", "pre", "f", "heterogeneity", "attack")
CHOICES = ("learning_rate", "momentum", "weight_decay")


def runs_of(options: Options) -> list[Run]:
    runs = combinations(Run, options, (*AXES, *CHOICES))
    return [run if of_root(run.rule) else dataclasses.replace(run, root_examples=0) for run in runs]


def prepare(options: Options) -> tuple[list[Run], Dataset]:
    """The runs and their data, all checked that can be before the first step."""
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
    searched = not SEARCHED.keys().isdisjoint(options.attack)
    refuse_unused(options, searched, f"the attacks {', '.join(SEARCHED)}", "evaluations")
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
    check_training(training, options.heterogeneity, options.honest, options)
    refuse_other_code(runs, options, code())
    records.prepare_folder(options.results)
    return runs, dataset


def main(options: Options) -> pd.DataFrame:
    """Run what is asked for and not on disk yet; returns the matrix."""
    return compute(options, *prepare(options))


def compute(
    options: Options, runs: Sequence[Run], dataset: Dataset, stop: Ask = never
) -> pd.DataFrame:
    """The matrix of these runs, from their files."""
    run_all(simulate, runs, dataset, options.results, stop)
    files = [run.file for run in runs]
    found = records.read_runs(options.results, files=files)
    steps = records.read_steps(options.results, files=files, columns=COLUMNS)
    return matrix(found.assign(diverged_step=found["digest"].map(diverged_steps(steps))))


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """The table as CSV, and each figure as PDF and PNG."""
    figures = pictures.figures(table)
    return [
        save_table(table, folder / "defence_matrix.csv"),
        *save_figures(figures, folder, ("png", "pdf")),
    ]


def execute(options: Options, prepared: tuple[list[Run], Dataset], stop: Ask) -> None:
    """Run what is missing; print and write the matrix."""
    table = compute(options, *prepared, stop)
    tables.print_matrix(
        table,
        f"{options.dataset}, {options.honest} honest workers, {options.steps} steps, "
        f"{counted(len(options.seeds), 'seed')}",
        Printer(options.format),
    )
    drawing(stop)
    paths = write(table, folder_of(options, Matrix, Tuning, Setting))
    tell_written(paths, options.format, pictures=True)
