"""The grid command on a small grid, in processes that a test kills.

As a program: a line with a folder on standard input starts the command in a child process with
results there; a number behind it is the bytes that a file may have. The number of the process is
printed, and when it has ended, its exit code (negative: the signal). Imports and the digest of the
code are made once, before the children.
"""

import dataclasses
import importlib
import os
import resource
import sys
import warnings

import numpy as np

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.grid.settings import PAPER, SETTINGS
from experiments.distributed_momentum.running import simulate
from experiments.shared.devices import prepare_devices
from experiments.shared.run import print_plain_warnings
from simbyz import data
from simbyz.records import parquet
from simbyz.records.checked_files import read_checked
from simbyz.sweeps import many_runs

ARGUMENTS = (
    "--dataset mnist --rule median --attack little empire --f 2 --learning-rate 0.5 "
    "--nesterov off --seeds 1 2 --checkpoint-every 0"
).split()
RUNS = 8  # attacks × places × seeds
TIMES = ("wall_seconds", "time_utc")


def make_small() -> None:
    """Seven workers, 40 steps in chunks of 4, on two classes of images."""
    generator = np.random.default_rng(0)
    labels = np.arange(300, dtype=np.int32) % 2
    images = generator.integers(0, 100, (300, 5, 5, 1)) + 100 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    parts = images[:200], labels[:200], images[200:], labels[200:]
    dataset = data.Dataset("mnist", *parts, 2, 255.0, (0.5,), (0.3,), False)
    short = dataclasses.replace(PAPER["mnist"], n=7, f=(2,), steps=40, batch_size=4)
    for settings in (PAPER, SETTINGS):
        settings["mnist"] = short
    many_runs.CHUNK = 4
    data.load = lambda name, data_dir=None: dataset


def content(path) -> tuple:
    """All that a run's file holds, but for the times; it must be whole."""
    file = read_checked(path)
    name, configuration, summary = parquet._metadata(file.schema_arrow)
    table = file.read()
    columns = {name: table[name].to_numpy().tobytes() for name in table.column_names}
    summary = {key: value for key, value in summary.items() if key not in TIMES}
    return name, repr(sorted(configuration.items())), repr(sorted(summary.items())), columns


def serve() -> None:
    make_small()
    importlib.import_module("experiments.distributed_momentum.commands.grid")
    simulate.code()  # kept, and all children have it
    warnings.filterwarnings("ignore", message=".*os.fork.*")
    for line in sys.stdin:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            folder, *limit = line.split()
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]), resource.RLIM_INFINITY))
            print_plain_warnings()
            prepare_devices(keep_programs=False)  # the environment says where they are kept
            code = 1
            try:
                code = command(["grid", *ARGUMENTS, "--results", folder])
            finally:
                sys.stderr.flush()
                os._exit(code)
        print("started", child, flush=True)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
