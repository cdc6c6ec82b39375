"""The small comparison: runs what is asked for, prints and draws it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib import pyplot as plt

from experiments.distributed_momentum.figures import certificates, comparison
from experiments.distributed_momentum.figures.panels import named
from experiments.distributed_momentum.grid.cells import Cell, cells
from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.grid.settings import SETTINGS
from experiments.distributed_momentum.options.compare import Comparison, Options, Setting
from experiments.distributed_momentum.running.campaign import together
from experiments.distributed_momentum.running.simulate import check, simulate
from experiments.shared.files import is_drawn, save_figure, save_table
from experiments.shared.formats import PaperName, Printer, beside, of_seeds
from experiments.shared.mixing import refuse_mixed
from experiments.shared.options.checks import as_name, check_options
from experiments.shared.options.question import folder_of
from experiments.shared.progress import Ask, bar, drawing, never
from simbyz import data, records
from simbyz.sweeps.checkpoints import check_every


class Results(NamedTuple):
    runs: pd.DataFrame  # one row a run
    steps: pd.DataFrame  # one row a step
    comparison: pd.DataFrame  # one row a comparison of places
    cells: list[Cell]


def prepare(options: Options) -> tuple[list[Run], data.Dataset]:
    """The runs asked for and their data, everything checked that can be before the first step."""
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
    _require_borne(options, chosen)
    dataset = data.load(options.dataset, data_dir=options.data_dir)
    check(chosen, dataset)
    runs = [Run(cell, seed) for cell in chosen for seed in options.seeds]
    if not options.allow_mixed:
        refuse_mixed(together(runs, options.results))
    records.prepare_folder(options.results)
    records.clean(options.results)
    return runs, dataset


def _require_borne(options: Options, chosen: Sequence[Cell]) -> None:
    """Raises ValueError where an f is asked for, and no rule bears as many, so that nothing would
    be attacked.
    """
    attacked = {cell.f for cell in chosen if cell.attack != "none"}
    if set(options.attack) <= {"none"}:
        return
    if alone := [f for f in options.f if f not in attacked]:
        n = SETTINGS[options.dataset].n if options.n is None else options.n
        raise ValueError(
            f"no rule bears f = {alone[0]} Byzantine workers of n = {n}: give a smaller --f, or "
            "--n of more"
        )


def main(options: Options) -> Results:
    """Run what is asked for and not on disk yet, and read all of it back."""
    return compute(options, *prepare(options))


def compute(
    options: Options, runs: Sequence[Run], dataset: data.Dataset, stop: Ask = never
) -> Results:
    """The results of the runs, from their files."""
    total = sum(run.cell.steps for run in runs)
    with bar(total, "step") as progress:  # which `simulate` stops, with a checkpoint
        simulate(
            runs,
            dataset,
            options.results,
            progress,
            checkpoint_every=options.checkpoint_every,
            save_parameters=options.save_parameters,
            stop=stop,
        )
    chosen = list(dict.fromkeys(run.cell for run in runs))
    table, steps = comparison.read(options.results, chosen, options.seeds)
    return Results(table, steps, comparison.compare(table, chosen), chosen)


def plot(results: Results, folder: Path, paper: PaperName = "screen") -> list[Path]:
    """Accuracy and variance-norm ratio by step, as PNG and PDF files; one pair a learning rate and
    Nesterov setting. What is there already, drawn from the same steps, stays.
    """
    files = []
    source = comparison.source_of(results.steps, results.cells)
    kinds = dict.fromkeys((cell.learning_rate, cell.nesterov) for cell in results.cells)
    for rate, nesterov in kinds:
        shown = [c for c in results.cells if (c.learning_rate, c.nesterov) == (rate, nesterov)]
        name = f"{shown[0].dataset}-lr_{as_name(rate)}" + "-nesterov" * nesterov
        for what, draw in (
            ("accuracy", comparison.plot_accuracy),
            ("ratio", comparison.plot_ratio),
        ):
            if what == "ratio" and not comparison.has_ratio(results.steps, shown):
                continue
            some = [folder / f"{named(f'{name}-{what}', paper)}.{kind}" for kind in ("png", "pdf")]
            files += some
            if all(is_drawn(file, source) for file in some):
                continue
            figure = draw(results.steps, shown, paper)
            for file in some:
                save_figure(figure, file, source=source, dpi=150)
            plt.close(figure)
    return files


def execute(options: Options, prepared: tuple[list[Run], data.Dataset], stop: Ask) -> None:
    """Run what is missing; print and draw all of it."""
    runs, dataset = prepared
    told = beside(options.format)
    names = sorted({run.cell.name for run in runs if not run.cell.in_paper})
    if options.dataset != "digits" and names:
        print(f"not in the paper: {', '.join(names)}", file=told)
    if dataset.notice:
        print(f"note: {dataset.notice}", file=told)
    results = compute(options, runs, dataset, stop)
    title = f"{options.dataset}, {of_seeds(options.seeds)}"
    if options.conventions == "released" and any(cell.rule == "krum" for cell in results.cells):
        title += "; krum: multi_krum, by the program's conventions"
    folder = folder_of(options, Comparison, Setting, but=("certify",))
    files = []
    if not results.comparison.empty:
        comparison.print_table(results.comparison, title, Printer(options.format))
        files.append(folder / "comparison.csv")
        save_table(results.comparison, files[-1])
    drawing(stop)
    files += plot(results, folder, options.paper)
    if options.certify and not results.comparison.empty:
        certificates.print_tables(results.runs, title, Printer(options.format))
        files += certificates.plot(results.runs, options.results, folder, options.paper)
    print(f"files: {', '.join(file.name for file in files)} in {folder}", file=told)
    print(f"results: {options.results} ({len(results.runs)} runs)", file=told)
