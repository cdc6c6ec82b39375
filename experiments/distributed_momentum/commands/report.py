"""Write REPORT.md and its figures from the table of runs, so that more runs need only this command.

Reads the table that `collect` keeps, and folders of results besides if any are given.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
from matplotlib import pyplot as plt
from PIL import Image

from experiments.distributed_momentum.analysis.extent import in_grid
from experiments.distributed_momentum.analysis.pairs import pairs_of
from experiments.distributed_momentum.analysis.run_table import TABLE, gather
from experiments.distributed_momentum.figures import overview
from experiments.distributed_momentum.running.mixing import refuse_mixed
from experiments.distributed_momentum.write_up.write_up import write_up
from experiments.shared.command_line import KEPT, NONE, parse
from simbyz import records

DPI = 100  # of figures that are kept with the code


@dataclasses.dataclass(frozen=True)
class Options:
    results: Annotated[tuple[Path, ...], NONE] = ()
    """Folders of results that the table does not hold yet."""
    table: Annotated[Path, KEPT] = TABLE
    """Where `collect` keeps a row a run."""
    report: Path = Path("experiments/distributed_momentum/REPORT.md")
    """The page that is written."""
    figures: Path = Path("docs/distributed_momentum")
    """Folder of the report's pictures."""
    allow_mixed: bool = False
    """Let runs of different code or settings stand in one table."""


def command(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, "distributed_momentum report", __doc__)
    try:
        if not options.report.parent.is_dir():
            raise ValueError(f"there is no folder {options.report.parent} for --report")
        runs = gather(options.results, (options.table,))
        if runs.empty:
            raise ValueError(f"there is no run in {options.table}; `collect` puts some there")
        if not options.allow_mixed:
            refuse_mixed(runs)
        records.prepare_folder(options.figures, "figures")
        pictures = draw(runs, options.figures)
        options.report.write_text(write_up(runs, pictures, options.report.parent))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.report}, {len(pictures)} pictures in {options.figures}")
    return 0


def draw(runs: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """The overview figures, by what they show."""
    grid = in_grid(runs)
    pairs = pairs_of(grid)
    figures = {f"Highest accuracies, {name.split('-')[1]}": f for name, f in overview.boxes(grid)}
    if len(pairs):
        figures["Gain of every configuration"] = overview.heatmap(pairs)
        figures["Reduction of the variance-norm ratio against the gain"] = overview.scatter(pairs)
    files = {}
    for title, figure in figures.items():
        name = title.lower().replace(",", "").replace(" ", "-")
        files[title] = folder / f"{name}.png"
        figure.savefig(files[title], dpi=DPI)
        plt.close(figure)
        with Image.open(files[title]) as picture:  # a palette of 256 colours: a third of the size
            picture.convert("RGB").quantize(256).save(files[title], optimize=True)
    return files
