"""The figures of a grid, or of the part of it that has been run, as PNG and PDF.

For every combination of data set, attack, f, learning rate and Nesterov: accuracy, loss and
variance-norm ratio by step. For each data set: box plots of the highest accuracy. For all: a
heatmap of the gain, and the ratio's reduction against the gain. For certified runs the realised
coefficient by step.
"""

import dataclasses
from pathlib import Path

from experiments.shared.formats import PaperName


@dataclasses.dataclass(frozen=True)
class Options:
    results: tuple[Path, ...] = (Path("results/distributed_momentum"),)
    """Folders of results."""
    figures: Path = Path("results/distributed_momentum/figures")
    """Folder of the pictures."""
    paper: PaperName = "screen"
    """Of a column (a picture a rule) or a page: 8.5 or 17.8 cm wide, with letters of 8 points."""
    allow_mixed: bool = False
    """Let runs of different code or settings stand in one table."""
