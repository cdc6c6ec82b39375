"""Study: runs of momentum algorithms, their tables and pictures."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from experiments.defence_matrix.simulate import split
from experiments.defence_matrix.training import check_levels, check_training
from experiments.momentum_family import claims, pictures, tables
from experiments.momentum_family.algorithms import ALGORITHMS, refusal
from experiments.momentum_family.options import Algorithms, Family, Options, Setting
from experiments.momentum_family.runs import Run
from experiments.momentum_family.simulate import check, code, simulate
from experiments.shared.files import save_figures, save_table
from experiments.shared.formats import Printer, tell_written
from experiments.shared.mixing import refuse_other_code
from experiments.shared.options.checks import check_memory, check_options, refuse_unused
from experiments.shared.options.question import folder_of
from experiments.shared.progress import Ask, drawing, never, run_all
from experiments.shared.runs import combinations
from simbyz import records
from simbyz.data import Dataset, load

RATES = {"digits": (0.1, 0.25, 0.5, 1.0), "mnist": (0.5,), "fashion_mnist": (0.5,)}
AXES = ("rule", "participation", "algorithm", "heterogeneity", "attack", "learning_rate")
STEPS = ["step", "accuracy", "gradients", "megabits"]


class Results(NamedTuple):
    runs: pd.DataFrame  # one row a run, of all learning rates
    chosen: pd.DataFrame  # of those at the rates chosen
    summary: pd.DataFrame  # one row a rule, participation, heterogeneity, algorithm and attack


def runs_of(options: Options) -> list[Run]:
    """All combinations, without those that an algorithm refuses."""
    rates = options.learning_rate or RATES[options.dataset]
    options = dataclasses.replace(options, learning_rate=rates)
    runs = [as_it_acts(run) for run in combinations(Run, options, AXES)]
    return [run for run in runs if refusal(run.algorithm, run.participation) is None]


def as_it_acts(run: Run) -> Run:
    """The run without the settings that its algorithm makes nothing of."""
    algorithm = ALGORITHMS[run.algorithm]
    everybody = run.participation == 1 or algorithm.delayed
    return dataclasses.replace(
        run,
        kept=run.kept if algorithm.uses == "kept" else None,
        bound=run.bound if algorithm.uses == "bound" else None,
        sampling=None if everybody else run.sampling,
    )


def prepare(options: Options) -> tuple[list[Run], Dataset]:
    """The runs and their data, all checked that can be before the first step."""
    check_options(options, *AXES[:-1])
    if options.learning_rate == ():
        raise ValueError("learning_rate must name at least one")
    _check_numbers(options)
    check_memory(4 * options.n**2, f"n = {options.n}")
    check_levels(options.heterogeneity)
    runs = runs_of(options)
    if not runs:
        raise ValueError(
            f"nothing to run: {options.algorithm[0]} with participation 1: "
            f"{refusal(options.algorithm[0], 1.0)}"
        )
    for name, by in (
        ("kept", "algorithms that compress"),
        ("bound", "clip21_sgd2m"),
        ("sampling", "a participation below 1"),
    ):
        refuse_unused(options, any(getattr(run, name) is not None for run in runs), by, name)
    try:
        check(options.rule, runs)
    except ValueError as error:
        shares = " ".join(f"{share:g}" for share in options.participation if share < 1)
        if not shares:
            raise
        raise ValueError(
            f"{error}: of n = {options.n}, f = {options.f} so many take part in a step with "
            f"--participation {shares}: give a larger share, or 1, or more workers"
        ) from error
    dataset = load(options.dataset, data_dir=options.data_dir)
    training, _ = split(dataset, options.validation)
    check_training(training, options.heterogeneity, options.n, options)
    refuse_other_code(runs, options, code())
    records.prepare_folder(options.results)
    return runs, dataset


def _check_numbers(options: Options) -> None:
    if not 1 <= options.f < options.n / 2:
        raise ValueError(f"f must be from 1 to below n / 2 = {options.n / 2:g}, got {options.f}")
    for name in ("kept", "target", "participation"):
        values = getattr(options, name)
        for value in values if isinstance(values, tuple) else (values,):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    if nobody := [share for share in options.participation if round(share * options.n) < 1]:
        raise ValueError(f"participation must leave some of n = {options.n}, got {nobody[0]}")
    if not options.bound > 0:
        raise ValueError(f"bound must be above 0, got {options.bound}")
    if options.baseline not in options.algorithm:
        raise ValueError(
            f"baseline must be one of the algorithms, {' '.join(options.algorithm)}, "
            f"got {options.baseline}"
        )


def main(options: Options) -> Results:
    """Run what is asked for and not on disk yet."""
    return compute(options, *prepare(options))


def compute(options: Options, runs: Sequence[Run], dataset: Dataset, stop: Ask = never) -> Results:
    """The runs, from their files, and their summary."""
    run_all(simulate, runs, dataset, options.results, stop)
    files = [run.file for run in runs]
    found = records.read_runs(options.results, files=files)
    steps = records.read_steps(options.results, files=files, columns=STEPS)
    found = tables.with_costs(found, steps, options.target)
    chosen = tables.chosen(found)
    return Results(found, chosen, tables.summarise(chosen, options.baseline))


def write(options: Options, results: Results) -> list[Path]:
    """Tables of the summary and of the runs, and the pictures."""
    folder = folder_of(options, Family, Setting, Algorithms)
    summary = save_table(results.summary, folder / "momentum_family.csv")
    runs = save_table(results.runs[tables.KEPT], folder / "runs.csv")
    files = list(results.chosen["file"])
    steps = records.read_steps(options.results, files=files, columns=STEPS)
    return [summary, runs, *save_figures(pictures.curves(steps, results.chosen), folder)]


def execute(options: Options, prepared: tuple[list[Run], Dataset], stop: Ask) -> None:
    """Run what is missing; print and write all of it."""
    results = compute(options, *prepared, stop)
    console = Printer(options.format)
    tables.print_tables(
        results.summary,
        options.algorithm,
        options.baseline,
        options.target,
        f"{options.dataset}, n = {options.n}, f = {options.f}",
        console,
    )
    console.print(tables.overview(results.chosen, options.baseline))
    if found := list(claims.claims(results.chosen, results.runs)):
        console.print(claims.table_of(found))
    drawing(stop)
    tell_written(write(options, results), options.format)
