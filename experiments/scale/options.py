"""The share of one run that a device takes when workers and coordinates are cut over many.

Programs of one step are compiled for virtual devices and not run: XLA's plan says what each device
holds and sends. A small run is really run, on one device and on eight. About two minutes on two
cores. Writes a table and a picture.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from experiments.shared.formats import Format

RuleName = Literal[
    "average", "median", "trimmed_mean", "multi_krum", "geometric_median", "centered_clipping"
]


@dataclasses.dataclass(frozen=True)
class Options:
    n: int = 1000
    """Workers, Byzantine ones included."""
    f: int = 488
    """Byzantine workers, present and tolerated; n - f workers compute, best a multiple of the
    devices."""
    d: int = 1_310_922
    """Parameters."""
    rule: tuple[RuleName, ...] = ("median", "multi_krum", "geometric_median")
    """Defences."""
    devices: tuple[int, ...] = (1, 2, 4, 8, 64, 512)
    """How many devices to plan for; all are virtual."""
    results: Path = Path("results/sharded")
    """Folder of the table and the picture."""
    format: Format = "table"
    """latex: with booktabs. csv: numbers and their deviations in columns of their own, titles on
    standard error."""
