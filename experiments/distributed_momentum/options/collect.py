"""Keep finished runs in a small table: one row a run.

The table goes with the code, so that a grid may go on on another machine (`grid --skip-recorded`)
and be analysed there. A run that is there already must have the same results.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.distributed_momentum.options.work import TABLE
from experiments.shared.options.command_line import KEPT


@dataclasses.dataclass(frozen=True)
class Options:
    results: tuple[Path, ...] = (Path("results/distributed_momentum"),)
    """Folders of results."""
    table: Annotated[Path, KEPT] = TABLE
    """The table that gets the new runs."""
    allow_mixed: bool = False
    """Let runs of different code or settings stand in one table."""
