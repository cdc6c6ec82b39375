"""The runs' answers: how often the attacks are effective, what momentum at the workers gains and
loses, how often the theory's condition holds, and each sentence of the paper's claim.

Works on any part of the grid, and says which part. Intervals: paired bootstrap over seeds. Of
certified runs in the folders, a table of their certificates.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.shared.formats import Format
from experiments.shared.options.command_line import NONE


@dataclasses.dataclass(frozen=True)
class Options:
    results: tuple[Path, ...] = (Path("results/distributed_momentum"),)
    """Folders of results."""
    table: Annotated[tuple[Path, ...] | None, NONE] = None
    """Tables that `collect` wrote, and folders only if given; no path: the one kept here."""
    allow_mixed: bool = False
    """Let runs of different code or settings stand in one table."""
    format: Format = "table"
    """Of the tables of certified runs; but for table, all else goes to standard error. latex: with
    booktabs."""
