"""Writes a results folder as one HTML page to explore: a heatmap, what is behind it, a table.

The page needs no network and no server: open it in a browser, or send it to someone. Of
distributed_momentum it shows the grid, whose cells open their curves, and every run with the
command that gives it again; of defence_matrix, attack_strength, benchmark and decentralised their
table. Every table is saved as CSV or LaTeX from the page. Several folders make one page.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from experiments.shared.options.command_line import hint
from experiments.shared.run import run, start


@dataclasses.dataclass(frozen=True)
class Options:
    results: tyro.conf.Positional[tuple[Path, ...]] = (Path("results/distributed_momentum"),)
    """Folders of results."""
    output: Annotated[Path | None, hint("report.html in the first folder")] = None
    """The page."""
    allow_mixed: bool = False
    """Let runs of different code or settings stand in one page."""


def main(folders: Sequence[Path], output: Path, *, allow_mixed: bool = False) -> int:
    """Write the page of these results; returns the number of runs in it.

    Raises:
      ValueError, OSError: no run to show, or mixed ones, or a file that can't be read or written.
    """
    # Imported late: --help needs neither JAX nor pandas.
    from experiments.report import sheets
    from experiments.report.gather import gather
    from experiments.report.page import write_page

    sheet = sheets.common(folders)
    if sheet is not None:
        content = sheets.gather(sheet, folders, allow_mixed=allow_mixed)
        write_page(output, "sheet", sheet.title, content)
        return content["count"]
    with tqdm(unit="run", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        content = gather(folders, allow_mixed=allow_mixed, tell=bar.write, progress=progress)
    write_page(output, "grid", "Momentum at the workers under attack", content)
    return len(content["runs"]["seed"])


def prepare(options: Options) -> str:
    """Write the page: all of it is reading, and any error in it is one of what was asked for.

    Raises:
      ValueError, OSError: see `main`.
    """
    if not options.results:
        raise ValueError("give at least one folder of results")
    output = options.results[0] / "report.html" if options.output is None else options.output
    count = main(options.results, output, allow_mixed=options.allow_mixed)
    return f"written: {output} ({count} runs, {output.stat().st_size / 1e6:.1f} MB)"


def execute(options: Options, written: str, stop: object) -> None:
    print(written)


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run_with` for exit codes."""
    return run(Options, arguments, "report", __doc__, prepare, execute, polled=False)


if __name__ == "__main__":
    start(command, lambda: None)
