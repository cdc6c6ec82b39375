"""The grid command with runs of a second, for the tests of the cluster: its own process, to be
killed.
"""

import dataclasses
import sys

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.grid.settings import PAPER, SETTINGS
from experiments.distributed_momentum.slurm import launch

if __name__ == "__main__":
    short = dataclasses.replace(PAPER["mnist"], steps=60, batch_size=4)
    PAPER["mnist"] = SETTINGS["mnist"] = short
    launch.EVERY = 0.3
    sys.exit(command(["grid", *sys.argv[1:]]))
