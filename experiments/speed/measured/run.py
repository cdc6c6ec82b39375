"""A whole run beside its gradients, and the seconds from the start of Python to a first step."""

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import jax
import pandas as pd

from experiments.distributed_momentum.grid.cells import Cell
from experiments.distributed_momentum.grid.programs import hyperparameters_of, workers_at_once
from experiments.speed.measured.step import evaluation, gradients
from experiments.speed.options import Clock
from experiments.speed.problems import cells_of, problem_of, random_images
from experiments.speed.timing import child_environment, compiled, interleaved
from simbyz._arrays.stacking import PyTree
from simbyz.simulator import Simulator
from simbyz.sweeps import Lane, sweep
from simbyz.sweeps.many_runs import CHUNK


def measure(
    dataset: str = "mnist",
    f: Sequence[int] = (24,),
    *,
    rules: Sequence[str] = (),
    steps: int | None = None,
    repetitions: int = 3,
    clock: Clock = "wall",
) -> pd.DataFrame:
    """One row a rule: seconds a run, all metrics and evaluations included, on one device.

    Before them what a run can't do without: the gradients of its honest workers, and these with the
    evaluations. `over_floor` is the time over that of the gradients.
    """
    images = random_images(dataset)
    frames = []
    for tolerated in f:
        cells = cells_of(dataset, rules, tolerated, steps=steps)
        problems = {cell.rule: problem_of(cell, images) for cell in cells}
        some = next(problem for rule, problem in problems.items() if rule != "average")
        cell = some.cell
        chunk = min(CHUNK, cell.steps)
        function, arguments = gradients(some, chunk, workers_at_once(cell))
        calls = {
            "gradients": compiled(function, *arguments)[0],
            "evaluation": compiled(evaluation(some), *some.arguments)[0],
        } | {
            rule: functools.partial(one_run, problem.cell, problem.simulator, problem.arguments[2])
            for rule, problem in problems.items()
        }
        timings = interleaved(calls, repetitions, clock)
        floor = timings.pop("gradients").median * cell.steps / chunk
        evaluations = -(-cell.steps // cell.evaluate_every) + 1
        testing = timings.pop("evaluation").median * evaluations
        common = {"n": cell.n, "f": tolerated, "steps": cell.steps}
        rows = [
            {"what": "gradients alone", "seconds": floor},
            {"what": f"gradients and {evaluations} evaluations", "seconds": floor + testing},
        ] + [
            {
                "what": f"run: {rule}",
                "seconds": timing.median,
                "least": timing.least,
                "most": timing.most,
            }
            for rule, timing in timings.items()
        ]
        frames.append(pd.DataFrame([common | row for row in rows]))
        frames[-1]["over_floor"] = frames[-1]["seconds"] / floor
    return pd.concat(frames)


def one_run(cell: Cell, simulator: Simulator, data: PyTree) -> None:
    """A run as the experiment makes it, but for writing its file."""
    lane = Lane(1, hyperparameters_of(cell))
    devices = jax.local_devices()[:1]
    list(sweep(simulator, [lane], data, steps=cell.steps, width=1, devices=devices))


# What a fresh Python does up to its first step; the compilation cache's folder is its argument.
FIRST_STEP = """
import sys
import jax
from experiments.shared.devices import prepare_devices
prepare_devices()
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
from experiments.distributed_momentum.grid.programs import simulator_of, task_of
from experiments.speed.problems import attacked, random_images
from experiments.speed.measured.run import one_run
dataset, rule, f = sys.argv[2:]
cell = attacked(dataset, rule, int(f), steps=1)
task = task_of(cell, random_images(dataset))
one_run(cell, simulator_of(cell, task), task.data)
"""


def measure_start(
    dataset: str = "mnist", f: int = 24, *, rules: Sequence[str] = ("median", "krum")
) -> pd.DataFrame:
    """Seconds from the start of Python to a finished first step, in fresh processes: with the
    compilation cache empty, then with what that left there; by the wall and by the time that the
    process was given.
    """
    rows = []
    for rule in rules:
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("empty", "filled"):
                command = [sys.executable, "-c", FIRST_STEP, folder, dataset, rule, str(f)]
                began, given = time.perf_counter(), _seconds_of_children()
                subprocess.run(command, check=True, env=child_environment())
                rows.append(
                    {
                        "what": f"first step: {rule}, cache {cache}",
                        "seconds": time.perf_counter() - began,
                        "cpu_seconds": _seconds_of_children() - given,
                    }
                )
    return pd.DataFrame(rows)


def _seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system
