"""Report: the page and its pictures, from the table of runs."""

import functools
import io
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib import pyplot as plt
from PIL import Image

from experiments.distributed_momentum.analysis.extent import in_grid
from experiments.distributed_momentum.analysis.run_table import gather, read_table
from experiments.distributed_momentum.figures import overview
from experiments.distributed_momentum.options.report import Options
from experiments.distributed_momentum.options.work import AGAIN
from experiments.distributed_momentum.write_up.write_up import write_up
from experiments.shared.files import save_text
from experiments.shared.mixing import refuse_mixed
from simbyz import records
from simbyz.records.whole_files import write_whole

DPI = 100  # of figures that are kept with the code


class Prepared(NamedTuple):
    runs: pd.DataFrame
    again: pd.DataFrame  # runs that were computed again


def prepare(options: Options) -> Prepared:
    """The runs to report on.

    Raises:
      ValueError, OSError: they can't be read, or are mixed, or nothing is there.
    """
    if not options.report.parent.is_dir():
        raise ValueError(f"there is no folder {options.report.parent} for --report")
    if options.report.is_dir():
        raise ValueError(f"--report must be a file, got the folder {options.report}")
    if options.again != AGAIN and not options.again.exists():
        raise ValueError(f"there is no table {options.again} for --again")
    runs = gather(options.results, (options.table,))
    if runs.empty:
        raise ValueError(f"there is no run in {options.table}; `collect` puts some there")
    refuse_mixed(runs, allowed=options.allow_mixed)
    again = read_table(options.again)
    records.prepare_folder(options.figures, "figures")
    return Prepared(runs, again)


def execute(options: Options, prepared: Prepared, stop: object) -> None:
    """Draw the pictures and write the page."""
    pictures = draw(prepared.runs, options.figures)
    text = write_up(prepared.runs, pictures, options.report.parent, prepared.again)
    save_text(text, options.report)
    print(f"{options.report}, {len(pictures)} pictures in {options.figures}")


def draw(runs: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """The overview figures, by what they show."""
    files = {}
    for _, title, figure in overview.figures(in_grid(runs)):
        name = title.lower().replace(",", "").replace(" ", "-")
        files[title] = folder / f"{name}.png"
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=DPI)
        plt.close(figure)
        # A palette of 256 colours: a third of the size.
        picture = Image.open(drawn).convert("RGB").quantize(256)
        save = functools.partial(picture.save, format="png", optimize=True)
        write_whole(files[title], save, "picture")
    return files
