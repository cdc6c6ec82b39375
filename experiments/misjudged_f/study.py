"""Study: rules told another number than are there, their tables and curves."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from experiments.defence_matrix.runs import share
from experiments.defence_matrix.training import check_levels
from experiments.misjudged_f import pictures, tables
from experiments.misjudged_f.lanes import NOBODY
from experiments.misjudged_f.options import Grid, Options, Setting
from experiments.misjudged_f.problems import QUADRATIC, TILTS, is_of
from experiments.misjudged_f.simulate import Run, measure
from experiments.shared.files import save_figures, save_table
from experiments.shared.formats import Printer, counted, tell_written
from experiments.shared.options.checks import (
    by_default,
    check_batch_size,
    check_hidden,
    check_memory,
    check_options,
    refuse_unused,
)
from experiments.shared.options.question import folder_of
from experiments.shared.progress import Ask, bar, drawing, never
from experiments.shared.runs import combinations
from experiments.worst_case.rules import check_rules
from simbyz import records
from simbyz.data import Dataset, load

AXES = ("problem", "data", "rule", "f", "tolerated", "attack")


class Results(NamedTuple):
    runs: pd.DataFrame  # one row a run
    summary: pd.DataFrame  # one row a problem, rule, f and f̂


def runs_of(options: Options) -> list[Run]:
    """All combinations, each problem with its own data, one run a seed without attackers."""
    runs = [run for run in combinations(Run, options, AXES) if is_of(run.problem, run.data)]
    calm = [dataclasses.replace(run, attack=NOBODY) if run.f == 0 else run for run in runs]
    return list(dict.fromkeys(calm))


def prepare(options: Options) -> dict[str, Dataset]:
    """The data, all checked that can be before the first step."""
    check_options(options, *AXES)
    if least := [f for f in options.f if f < 0]:
        raise ValueError(f"f must be at least 0, got {least[0]}")
    if options.batch_size < 1:  # of quadratics alone, too, which have no images
        raise ValueError(f"batch_size must be at least 1, got {options.batch_size}")
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
    refuse_unused(options, QUADRATIC in options.problem, "quadratics", "zeta", "sigma")
    images = any(name != QUADRATIC for name in options.problem)
    refuse_unused(options, images, "images", "batch_size", "hidden", "partition_seed")
    check_levels([data for data in options.data if data not in TILTS])
    check_rules(options.rule, options.n, options.tolerated)
    names: list[str] = [name for name in options.problem if name != QUADRATIC]
    datasets = {name: load(name, data_dir=options.data_dir) for name in names}
    for name, dataset in datasets.items():
        check_batch_size(options.batch_size, len(dataset.train_labels), name)
        check_hidden(options.hidden, options.n, dataset.train_images.shape[1:])
        for data in set(options.data) - set(TILTS):
            share(data, dataset.train_labels, options.n, options.partition_seed)
    records.prepare_folder(options.results)
    return datasets


def main(options: Options) -> Results:
    """Run what is asked for."""
    return compute(options, prepare(options))


def compute(options: Options, datasets: dict[str, Dataset], stop: Ask = never) -> Results:
    runs = runs_of(options)
    with bar(len(runs), "run", stop) as progress:
        found = measure(runs, options, datasets, progress)
    return Results(found, tables.summarise(found))


def write(options: Options, results: Results) -> list[Path]:
    """Tables of runs and of cells, and a picture a problem."""
    folder = folder_of(options, Grid, Setting)
    figures = ((name, pictures.curves(results.summary, name)) for name in options.problem)
    return [
        save_table(results.runs, folder / "runs.csv"),
        save_table(results.summary, folder / "misjudged_f.csv"),
        *save_figures(figures, folder),
    ]


def execute(options: Options, datasets: dict[str, Dataset], stop: Ask) -> None:
    """Run what is asked for; print and write all of it."""
    results = compute(options, datasets, stop)
    common = f"n = {options.n}, {options.steps} steps, {counted(len(options.seeds), 'seed')}"
    titles: dict[str, str] = dict.fromkeys(options.problem, "")
    for problem in titles:
        constants = f"ζ = {options.zeta:g}, σ = {options.sigma:g}, " if problem == QUADRATIC else ""
        titles[problem] = f"{problem}, {constants}{common}"
    tables.print_tables(results.summary, titles, Printer(options.format))
    drawing(stop)
    tell_written(write(options, results), options.format)
