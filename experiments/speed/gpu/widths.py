"""Runs a second of a sweep by its width, and so the best width."""

import time
from collections.abc import Iterator

import jax

from experiments.distributed_momentum.grid.programs import hyperparameters_of, simulator_of, task_of
from experiments.speed.gpu.journal import Result
from experiments.speed.gpu.sizes import Sizes, cell_of, images_of
from simbyz.sweeps import Lane, sweep
from simbyz.sweeps.many_runs import CHUNK


def measure(sizes: Sizes, until: float) -> Iterator[Result]:
    """One result a width and rule: seconds of a round of runs, warm, all metrics and evaluations
    included. A width that the device has no memory for says so.
    """
    images, devices = images_of(sizes.dataset), jax.local_devices()[:1]
    for width in sizes.widths:
        for rule in sizes.rules:
            if time.monotonic() > until:
                yield {"what": "not reached", "width": width, "rule": rule}
                return
            cell = cell_of(sizes, rule, steps=sizes.timed_steps)
            task = task_of(cell, images)
            simulator = simulator_of(cell, task)
            lanes = [Lane(seed, hyperparameters_of(cell)) for seed in range(1, width + 1)]

            def seconds(steps: int, simulator=simulator, lanes=lanes, task=task) -> float:
                began = time.perf_counter()
                width = len(lanes)
                list(sweep(simulator, lanes, task.data, steps=steps, width=width, devices=devices))
                return time.perf_counter() - began

            common = {"what": "sweep", "rule": rule, "f": cell.f, "width": width}
            try:
                first = seconds(min(CHUNK, cell.steps))
                whole = seconds(cell.steps)
            except Exception as error:  # no memory for it, most likely
                yield common | {"error_message": f"{type(error).__name__}: {error}"[:300]}
                continue
            yield common | {
                "steps": cell.steps,
                "seconds": whole,
                "runs_a_second": width / whole,
                "seconds_a_run": whole / width,
                "with_compilation": first,
            }
