"""Keep finished runs in a small table: one row a run.

The table goes with the code, so that a grid may go on on another machine (`grid --skip-recorded`)
and be analysed there. A run that is there already must have the same results.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from experiments.distributed_momentum.analysis.run_table import (
    TABLE,
    merge,
    read_table,
    rows_of,
    write_table,
)
from experiments.distributed_momentum.running.mixing import refuse_mixed
from experiments.shared.command_line import KEPT, parse


@dataclasses.dataclass(frozen=True)
class Options:
    results: tuple[Path, ...] = (Path("results/distributed_momentum"),)
    """Folders of results."""
    table: Annotated[Path, KEPT] = TABLE
    """The table that gets the new runs."""
    allow_mixed: bool = False
    """Let runs of different code or settings stand in one table."""


def command(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, "distributed_momentum collect", __doc__)
    try:
        table = read_table(options.table)
        before = len(table)
        for folder in options.results:
            table = merge(table, rows_of(folder))
        if not options.allow_mixed:
            refuse_mixed(table)
        write_table(table, options.table)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = options.table.stat().st_size / 1e6
    print(f"{options.table}: {len(table)} runs, {len(table) - before} of them new, {size:.2f} MB")
    return 0
