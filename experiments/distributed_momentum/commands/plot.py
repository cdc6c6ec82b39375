"""The figures of a grid, or of the part of it that has been run, as PNG and PDF.

For every combination of data set, attack, f, learning rate and Nesterov: accuracy, loss and
variance-norm ratio by step. For each data set: box plots of the highest accuracy. For all: a
heatmap of the gain, and the ratio's reduction against the gain. For certified runs the realised
coefficient by step.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from experiments.distributed_momentum.analysis.extent import in_grid, missing_lines
from experiments.distributed_momentum.analysis.pairs import pairs_of
from experiments.distributed_momentum.analysis.run_table import rows_of
from experiments.distributed_momentum.figures import certificates, curves, overview
from experiments.distributed_momentum.figures.panels import named
from experiments.shared.formats import PaperName
from experiments.shared.mixing import refuse_mixed
from experiments.shared.options.checks import check_options
from experiments.shared.progress import tell
from experiments.shared.run import run
from simbyz import records


@dataclasses.dataclass(frozen=True)
class Options:
    results: tuple[Path, ...] = (Path("results/distributed_momentum"),)
    """Folders of results."""
    figures: Path = Path("results/distributed_momentum/figures")
    """Folder of the pictures."""
    paper: PaperName = "screen"
    """Of a column (a picture a rule) or a page: 8.5 or 17.8 cm wide, with letters of 8 points."""
    allow_mixed: bool = False
    """Let runs of different code or settings stand in one table."""


def prepare(options: Options) -> pd.DataFrame:
    """The runs of the folders, with the column `folder`.

    Raises:
      ValueError, OSError: they can't be read, or are mixed, or nothing is there.
    """
    check_options(options, "results")
    parts = [rows_of(folder).assign(folder=str(folder)) for folder in options.results]
    runs = pd.concat(parts).drop_duplicates("file", ignore_index=True)
    if runs.empty:
        raise ValueError("there is no run to plot; `grid` runs some")
    if not options.allow_mixed:
        refuse_mixed(runs)
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


def command(arguments: Sequence[str]) -> int:
    """The command line: see `run` for exit codes."""
    name, stopped = "distributed_momentum plot", "some pictures are in {figures}"
    return run(Options, arguments, name, __doc__, prepare, execute, polled=False, stopped=stopped)


def draw_all(runs: pd.DataFrame, folder: Path, paper: PaperName = "screen") -> list[Path]:
    """All figures of the runs.

    Args:
      runs: rows of the table of runs, with the column `folder`.
      folder: for the pictures.
    """
    files = []
    combinations = list(curves.combinations(runs, paper))
    for combination in tqdm(combinations, unit="figure", disable=None):
        figure = curves.draw(combination, paper)
        files += curves.save(figure, folder, named(combination.name, paper))
    tell("drawing what is over all of them")
    files += draw_overviews(runs, folder)
    return files


def draw_overviews(runs: pd.DataFrame, folder: Path) -> list[Path]:
    """The figures that need no steps, only rows of the table of runs."""
    files = []
    grid = in_grid(runs)
    for name, figure in overview.boxes(grid):
        files += curves.save(figure, folder, name)
    pairs = pairs_of(grid)
    if len(pairs):
        files += curves.save(overview.heatmap(pairs), folder, "gain")
        files += curves.save(overview.scatter(pairs), folder, "ratio-and-gain")
    return files
