"""Figures: all of a grid, or of the part of it that has been run."""

import functools
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from experiments.distributed_momentum.analysis.extent import in_grid, missing_lines
from experiments.distributed_momentum.analysis.run_table import merge, rows_of
from experiments.distributed_momentum.figures import certificates, curves, overview
from experiments.distributed_momentum.figures.panels import named
from experiments.distributed_momentum.options.plot import Options
from experiments.shared.formats import PaperName
from experiments.shared.mixing import refuse_mixed
from experiments.shared.options.checks import check_options
from experiments.shared.progress import tell
from simbyz import records


def prepare(options: Options) -> pd.DataFrame:
    """The runs of the folders, with the column `folder`.

    Raises:
      ValueError, OSError: they can't be read, contradict each other or are mixed, or nothing is
        there.
    """
    check_options(options, "results")
    parts = [rows_of(folder).assign(folder=str(folder)) for folder in options.results]
    runs = functools.reduce(merge, parts)
    if runs.empty:
        raise ValueError("there is no run to plot; `grid` runs some")
    refuse_mixed(runs, allowed=options.allow_mixed)
    records.prepare_folder(options.figures, "figures")
    return runs


def execute(options: Options, runs: pd.DataFrame, stop: object) -> None:
    """Draw all figures, and say what those of the gain lack."""
    for line in missing_lines(runs, options.results[0]):
        print(line)
    files = draw_all(runs, options.figures, options.paper)
    for folder in options.results:
        files += certificates.plot(
            certificates.runs_in(folder), folder, options.figures, options.paper
        )
    print(f"{len(files)} pictures in {options.figures}")


def draw_all(runs: pd.DataFrame, folder: Path, paper: PaperName = "screen") -> list[Path]:
    """All figures of the runs, which have a column `folder`, into the folder for the pictures."""
    files = []
    combinations = list(curves.combinations(runs, paper))
    for combination in tqdm(combinations, unit="figure", disable=None):
        figure = curves.draw(combination, paper)
        files += curves.save(figure, folder, named(combination.name, paper))
    tell("drawing what is over all of them")
    for name, _, figure in overview.figures(in_grid(runs)):
        files += curves.save(figure, folder, name)
    return files
