"""The grid command as one process of several, on made-up images.

Arguments are the command's. What runs are written is printed. DIES_AFTER: how many runs this
process writes before it kills itself; SECONDS: write runs without computing them, and take so long
for each.
"""

import dataclasses
import os
import signal
import sys
import time

import jax
import numpy as np

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.grid.settings import PAPER, SETTINGS
from experiments.distributed_momentum.running import campaign, simulate
from experiments.shared import hosts
from simbyz import data, records
from tests.support import fake_runs

write_run, written = records.write_run, []


def write_and_tell(folder, name, configuration, *rest):
    path = write_run(folder, name, configuration, *rest)
    print(f"wrote {path.name}", flush=True)
    written.append(path)
    if os.environ.get("DIES_AFTER") == str(len(written)):
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def simulate_nothing(runs, dataset, folder, *_, **__):
    for run in runs:
        fake_runs.write(folder, run, 0.9)
        time.sleep(float(os.environ["SECONDS"]))


jax.config.update("jax_num_cpu_devices", 2)
hosts.SILENCE = 10
simulate.code_digest = lambda *own: "0123456789"  # the code's takes as long as all runs here
records.write_run = write_and_tell
if "SECONDS" in os.environ:
    campaign.simulate = simulate_nothing
generator = np.random.default_rng(0)
labels = np.arange(300, dtype=np.int32) % 10
images = generator.integers(0, 256, (300, 6, 6, 1)).astype(np.uint8)
parts = images[:200], labels[:200], images[200:], labels[200:]
dataset = data.Dataset("mnist", *parts, 10, 255.0, (0.5,), (0.3,), False)
for settings in (PAPER, SETTINGS):
    settings["mnist"] = dataclasses.replace(PAPER["mnist"], steps=3, batch_size=2)
data.load = lambda name, data_dir: dataset
sys.exit(command(["grid", *sys.argv[1:]]))
