"""Keep finished runs in a small table: one row a run.

The table goes with the code, so that a grid may go on on another machine (`grid --skip-recorded`)
and be analysed there. A run that is there already must have the same results.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd

from experiments.distributed_momentum.analysis.run_table import (
    TABLE,
    merge,
    read_table,
    rows_of,
    write_table,
)
from experiments.shared.command_line import KEPT
from experiments.shared.mixing import refuse_mixed
from experiments.shared.option_checks import check_options
from experiments.shared.run import run


@dataclasses.dataclass(frozen=True)
class Options:
    results: tuple[Path, ...] = (Path("results/distributed_momentum"),)
    """Folders of results."""
    table: Annotated[Path, KEPT] = TABLE
    """The table that gets the new runs."""
    allow_mixed: bool = False
    """Let runs of different code or settings stand in one table."""


class Collected(NamedTuple):
    table: pd.DataFrame
    before: int  # rows that were there


def prepare(options: Options) -> Collected:
    """The table with the folders' runs.

    Raises:
      ValueError, OSError: it can't be read, or the runs contradict each other or are mixed.
    """
    check_options(options, "results")
    table = read_table(options.table)
    before = len(table)
    for folder in options.results:
        table = merge(table, rows_of(folder))
    if not options.allow_mixed:
        refuse_mixed(table)
    return Collected(table, before)


def execute(options: Options, collected: Collected, stop: object) -> None:
    """Write the table."""
    write_table(collected.table, options.table)
    size, number = options.table.stat().st_size / 1e6, len(collected.table)
    print(f"{options.table}: {number} runs, {number - collected.before} of them new, {size:.2f} MB")


def command(arguments: Sequence[str]) -> int:
    """The command line: see `run` for exit codes."""
    name = "distributed_momentum collect"
    return run(Options, arguments, name, __doc__, prepare, execute, polled=False)
