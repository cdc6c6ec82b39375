"""Write REPORT.md and its figures from the table of runs, so that more runs need only this command.

Reads the table that `collect` keeps, and folders of results besides if any are given.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.distributed_momentum.options.work import AGAIN, TABLE
from experiments.shared.options.command_line import KEPT, NONE


@dataclasses.dataclass(frozen=True)
class Options:
    results: Annotated[tuple[Path, ...], NONE] = ()
    """Folders of results that the table does not hold yet."""
    table: Annotated[Path, KEPT] = TABLE
    """Where `collect` keeps a row a run."""
    again: Annotated[Path, KEPT] = AGAIN
    """A table, as `collect --table` makes it, of runs that were computed again: the page compares
    their accuracies."""
    report: Path = Path("experiments/distributed_momentum/REPORT.md")
    """The page that is written."""
    figures: Path = Path("docs/distributed_momentum")
    """Folder of the report's pictures."""
    allow_mixed: bool = False
    """Let runs of different code or settings stand in one table."""
