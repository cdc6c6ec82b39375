"""Options of what runs many of the paper's runs, and the table that is kept with the code."""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.shared.options.command_line import CHECKPOINT_EVERY, KEPT

# Carried by an installation too.
TABLE = Path(__file__).parents[1] / "data" / "runs.parquet"
AGAIN = TABLE.with_name("again.parquet")  # runs of it that were computed again


@dataclasses.dataclass(frozen=True)
class Work:
    """The work to do of it now, and its purpose."""

    dry_run: bool = False
    """Only list what would be run, with estimated time and memory."""
    skip_recorded: bool = False
    """Runs in the table count as done too, wherever they were computed."""
    table: Annotated[Path, KEPT] = TABLE
    """Where `collect` keeps a row a run."""
    checkpoint_every: float = CHECKPOINT_EVERY
    """Seconds from one checkpoint to the next, at least; inf: only when stopped."""
    save_parameters: bool = False
    """Also keep what each run trained, beside its file; runs on disk without are computed again."""
