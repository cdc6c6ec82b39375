"""Runs that stopped or killed processes left under way: how far, and whether they can go on.

The command that was stopped goes on from there by itself; a checkpoint of other code, or of another
version of JAX, is not taken, and its runs start anew.
"""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Options:
    results: tuple[Path, ...] = (Path("results/distributed_momentum"),)
    """Folders of results."""
