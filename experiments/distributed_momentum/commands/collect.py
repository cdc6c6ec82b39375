"""Collection: the folders' runs are put into the table."""

from typing import NamedTuple

import pandas as pd

from experiments.distributed_momentum.analysis.run_table import (
    merge,
    read_table,
    rows_of,
    write_table,
)
from experiments.distributed_momentum.options.collect import Options
from experiments.shared.mixing import refuse_mixed
from experiments.shared.options.checks import check_options


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
    refuse_mixed(table, allowed=options.allow_mixed)
    return Collected(table, before)


def execute(options: Options, collected: Collected, stop: object) -> None:
    """Write the table."""
    write_table(collected.table, options.table)
    size, number = options.table.stat().st_size / 1e6, len(collected.table)
    print(f"{options.table}: {number} runs, {number - collected.before} of them new, {size:.2f} MB")
