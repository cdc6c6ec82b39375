"""The paper's whole grid: how many programs it compiles, and how long half of it takes here."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import pandas as pd

from experiments.distributed_momentum.grid.cells import paper_cells
from experiments.distributed_momentum.grid.footprint import width_of
from experiments.distributed_momentum.grid.programs import (
    Run,
    hyperparameters_of,
    programs,
    simulator_of,
    task_of,
)
from experiments.distributed_momentum.grid.settings import PAPER, SETTINGS
from experiments.speed.options import Clock
from experiments.speed.problems import attacked, random_images
from experiments.speed.timing import child_environment
from simbyz.data import Dataset
from simbyz.sweeps import Lane, sweep
from simbyz.sweeps.many_runs import CHUNK

SEEDS = (1, 2, 3, 4, 5)
HALF = ("mnist", "fashion_mnist")


def runs_of(dataset: str, **changes) -> list[Run]:
    """All runs of the paper's grid on a data set."""
    return [Run(cell, seed) for cell in paper_cells(dataset, **changes) for seed in SEEDS]


def count() -> pd.DataFrame:
    """Cells, runs and compiled programs of the grid, a row a data set and one for all."""
    rows: list[dict[str, Any]] = []
    for dataset in PAPER:
        runs = runs_of(dataset)
        distinct = len({run.cell for run in runs})
        rows.append(
            {"what": dataset, "cells": distinct, "runs": len(runs), "programs": len(programs(runs))}
        )
    total = {name: sum(row[name] for row in rows) for name in ("cells", "runs", "programs")}
    return pd.DataFrame([*rows, {"what": "all"} | total])


def measure(
    datasets: Sequence[str] = HALF,
    *,
    quick: bool = False,
    steps: int | None = None,
    clock: Clock = "wall",
    tell: Callable[[str], None] = print,
) -> pd.DataFrame:
    """One row a program, with and without Nesterov: seconds to compile it, seconds a run, and how
    many runs it makes.

    Each program makes one round of runs on all devices at once, whole ones, after one chunk that
    compiles it. `hours` is what all its runs take. quick: of the first data set only, without
    Nesterov, one chunk of steps a run, whose time is scaled up. clock: "cpu" counts the time that
    this process was given, over the devices: what it would take with the cores to itself, nearly.
    """
    rows = []
    for dataset in datasets[:1] if quick else datasets:
        images = random_images(dataset)
        for group in programs(runs_of(dataset, steps=steps)):
            for row in _measure_program(group, images, quick, clock):
                tell(f"{row['what']}: {row['seconds']:.2f} s a run, {row['compile_seconds']:.1f} s")
                rows.append(row)
    return pd.DataFrame(rows)


def _measure_program(
    group: Sequence[Run], images: Dataset, quick: bool, clock: Clock
) -> Iterator[dict]:
    cell = group[0].cell
    steps = min(CHUNK, cell.steps) if quick else cell.steps
    task = task_of(cell, images)
    simulator = simulator_of(cell, task, shared=True)
    width = width_of(cell)
    at_once = width * jax.local_device_count()
    for nesterov in (False,) if quick else (False, True):
        runs = [run for run in group if run.cell.nesterov == nesterov]
        lanes = [Lane(run.seed, hyperparameters_of(run.cell)) for run in runs[:at_once]]

        def seconds(steps: int, lanes=lanes, nesterov=nesterov) -> float:
            began = time.perf_counter(), time.process_time()
            list(sweep(simulator, lanes, task.data, steps=steps, width=width, look_ahead=nesterov))
            if clock == "wall":
                return time.perf_counter() - began[0]
            return (time.process_time() - began[1]) / jax.local_device_count()

        chunk = min(CHUNK, steps)
        first, whole = seconds(chunk), seconds(steps)
        each = whole / len(lanes) * cell.steps / steps
        compiling = max(0.0, first - whole * chunk / steps)
        what = f"{cell.dataset} {cell.rule} f={cell.f} n={cell.n}" + " nesterov" * nesterov
        yield {
            "what": what,
            "measured": len(lanes),
            "compile_seconds": compiling,
            "seconds": each,
            "runs": len(runs),
            "hours": (compiling + each * len(runs)) / 3600,
        }


def estimate(frame: pd.DataFrame, datasets: Sequence[str] = HALF) -> tuple[int, float]:
    """Runs of these data sets, and the hours they take on this machine: those of the programs
    measured, scaled to all runs.
    """
    total = sum(len(runs_of(dataset)) for dataset in datasets)
    return total, frame["hours"].sum() * total / frame["runs"].sum()


# Rounds of runs in a fresh process on some cores: prints runs a second.
ROUNDS = """
import os, sys
os.sched_setaffinity(0, {int(core) for core in sys.argv[1].split(",")})
from experiments.shared.devices import prepare_devices
prepare_devices()
from experiments.speed.measured.grid import throughput
dataset, rule, steps, rounds = sys.argv[2:]
print(*throughput(dataset, rule, int(steps), int(rounds)))
"""


def throughput(dataset: str, rule: str, steps: int, rounds: int) -> list[float]:
    """Runs a second of each of so many rounds on all devices, after one that compiles."""
    cell = attacked(dataset, rule, SETTINGS[dataset].f[0], steps=steps)
    task = task_of(cell, random_images(dataset))
    simulator = simulator_of(cell, task)
    lanes = [
        Lane(seed, hyperparameters_of(cell)) for seed in range(1, jax.local_device_count() + 1)
    ]
    rates = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        list(sweep(simulator, lanes, task.data, steps=steps, width=1))
        rates.append(len(lanes) / (time.perf_counter() - began))
    return rates[1:]


def measure_devices(
    dataset: str = "mnist", rule: str = "median", *, steps: int = 2 * CHUNK, repetitions: int = 3
) -> pd.DataFrame:
    """Runs a second on one core, and on all with a device each, in fresh processes that take turns.

    `over_one` of the last row is how well the cores are used: their number at best.
    """
    cores = sorted(os.sched_getaffinity(0))
    rates: dict[int, list[float]] = {}
    for _ in range(repetitions):
        for some in ([cores[-1]], cores):
            arguments = [",".join(map(str, some)), dataset, rule, str(steps), "2"]
            done = subprocess.run(
                [sys.executable, "-c", ROUNDS, *arguments],
                check=True,
                env=child_environment(),
                stdout=subprocess.PIPE,
                text=True,
            )
            rates.setdefault(len(some), []).extend(map(float, done.stdout.split()))
    frame = pd.DataFrame(
        [
            {"what": f"{number} core(s)", "runs_a_second": pd.Series(values).median()}
            for number, values in rates.items()
        ]
    )
    frame["over_one"] = frame["runs_a_second"] / frame["runs_a_second"].iloc[0]
    return frame
