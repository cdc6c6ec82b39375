"""A run of ByzFL's benchmark, by ByzFL and by the simulator: accuracies and CPU time of a sweep.

The trimmed mean after nearest-neighbour mixing, ByzFL's network for MNIST. Needs MNIST, and ByzFL
for its side (pip install '.[peers]'); without ByzFL that side is left out, by name. Several minutes
an attack on one core, most of them ByzFL's.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from experiments.byzfl_conformance.setting import AttackName
from experiments.shared.formats import Format
from experiments.shared.options.command_line import TFDS


@dataclasses.dataclass(frozen=True)
class Options:
    attack: tuple[AttackName, ...] = ("sign_flipping", "a_little_is_enough")
    """The optimal ones take ByzFL about ten seconds of CPU time a step."""
    f: int = 3
    """Byzantine workers, on top of ten honest ones."""
    gamma: float = 0.66
    """Similarity of the workers' data, from 0 to 1."""
    steps: int = 100
    """Steps of a run."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of initial weights and batches."""
    results: Path = Path("results/byzfl_conformance")
    """Folder of the table."""
    data_dir: Annotated[Path | None, TFDS] = None
    """Where TensorFlow Datasets prepared the data."""
    format: Format = "table"
    """latex: with booktabs. csv: numbers and their deviations in columns of their own, titles on
    standard error."""
