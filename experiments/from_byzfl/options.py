"""ByzFL's benchmark from its own file: `python -m experiments.from_byzfl config.json`.

Takes the file of ByzFL 0.0.11 as it is. What it asks for that is not here is named, a line each,
before anything runs; so is a key that ByzFL would not know. Ends in a table and in ByzFL's
heatmaps, in the folder of results under the file's name. The same command again runs only what is
missing. Without the data set, --dataset digits tries the file on images that need no download.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.shared.formats import Format
from experiments.shared.options.command_line import TFDS

DatasetName = Literal["digits", "mnist", "fashionmnist", "cifar10"]
THE_FILES = tyro.conf.arg(help_behavior_hint="(default: the file's)")


@dataclasses.dataclass(frozen=True)
class Options:
    config: tyro.conf.Positional[Path]
    """ByzFL's configuration file."""
    dataset: Annotated[DatasetName | None, THE_FILES] = None
    """In place of the file's; digits needs no download."""
    leave_out: bool = False
    """Leave out rules, pre-aggregators, attacks and partitions that are not here, and run the
    rest."""
    results: Path = Path("results/from_byzfl")
    """Folder of finished runs; tables and pictures lie inside, under the file's name, beside a copy
    of the file."""
    data_dir: Annotated[Path | None, TFDS] = None
    """Where TensorFlow Datasets prepared the data; not for digits."""
    allow_mixed: bool = False
    """Let runs of different code stand in one table."""
    format: Format = "table"
    """latex: with booktabs. csv: numbers and their deviations in columns of their own, titles on
    standard error."""
