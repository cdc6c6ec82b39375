"""Study: the error that rules end at beside the floor, its table and picture."""

import functools
from typing import NamedTuple

import pandas as pd

from experiments.error_floor import tables
from experiments.error_floor.options import Options, Runs
from experiments.error_floor.simulate import measure
from experiments.shared.files import save_figures, save_table
from experiments.shared.formats import Printer, of_seeds, tell_written
from experiments.shared.options.checks import check_below_half, check_memory, check_options
from experiments.shared.options.question import folder_of
from experiments.shared.progress import FIRST, Ask, bar, drawing, never
from experiments.worst_case.rules import check_rules
from simbyz import records


class Results(NamedTuple):
    runs: pd.DataFrame  # one row a run
    summary: pd.DataFrame  # one row a rule and f


def prepare(options: Options) -> None:
    """Check everything that can be before the first step."""
    check_options(options, "rule", "f", "zeta")
    check_below_half(options)
    check_memory(4 * options.n**2, f"n = {options.n}")
    check_rules(options.rule, options.n, options.f)
    records.prepare_folder(options.results)


def main(options: Options) -> Results:
    """Run what is asked for."""
    prepare(options)
    return compute(options)


def compute(options: Options, stop: Ask = never) -> Results:
    with bar(len(options.rule) * len(options.f), "program", stop) as progress:
        progress(0, FIRST)
        runs = measure(options, functools.partial(progress, 1))
    return Results(runs, tables.summarise(runs))


def execute(options: Options, prepared: None, stop: Ask) -> None:
    """Run what is asked for; print and write all of it."""
    results = compute(options, stop)
    tables.print_table(
        results.summary,
        f"n = {options.n}, ζ = {max(options.zeta):g}, σ = {options.sigma:g}, "
        + of_seeds(options.seeds),
        Printer(options.format),
    )
    folder = folder_of(options, Runs)
    table = save_table(results.runs, folder / "runs.csv")
    drawing(stop)
    figures = [("error_floor", tables.plot(results.runs))]
    pictures = save_figures(figures, folder, ("pdf", "png"), dpi=150)
    tell_written([table, *pictures], options.format)
