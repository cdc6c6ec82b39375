"""Timings that can be compared: one core, warm, blocked, interleaved, medians."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.speed.options import Clock


class Timing(NamedTuple):
    """Seconds: the median of the repetitions, and their range."""

    median: float
    least: float
    most: float


@dataclasses.dataclass(frozen=True)
class Overwriting:
    """A call that overwrites what it is given, which `refill` makes good before each, untimed."""

    call: Callable[[], object]
    refill: Callable[[], object]

    def __call__(self) -> object:
        return self.call()


def child_environment() -> dict[str, str]:
    """Of a process that finds the experiments where this one does."""
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path}


def use_one_core() -> None:
    """Keep this process on one core; call it before JAX starts its threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def compiled(function: Callable, *arguments: Any) -> tuple[Callable[[], object], float]:
    """The function compiled for these arguments, as a blocking call, and the seconds it took."""
    began = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - began
    return lambda: jax.block_until_ready(program(*arguments)), seconds


def compiled_lanes(
    function: Callable[[jax.Array], Any], stacks: jax.Array
) -> tuple[Callable[[], object], float]:
    """`compiled`, of a function of one stack, for all of the stacks (lanes, n, d) at once."""
    if len(stacks) == 1:
        return compiled(function, stacks[0])
    return compiled(jax.vmap(function), stacks)


def interleaved(
    functions: Mapping[str, Callable[[], object]], repetitions: int, clock: Clock = "wall"
) -> dict[str, Timing]:
    """Time each function `repetitions` times, in turns, so that a drift of the machine hits all.

    clock: "wall", or "cpu", the time that this process was given: the same on one core of a quiet
    machine, and nearly so where others compete for the core.
    """
    now = {"wall": time.perf_counter, "cpu": time.process_time}[clock]
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(1 + repetitions):
        for name, function in functions.items():
            if isinstance(function, Overwriting):
                function.refill()
            began = now()
            function()
            seconds[name].append(now() - began)
    return {
        name: Timing(float(np.median(times)), min(times), max(times))
        for name, (_, *times) in seconds.items()  # the first is to warm up
    }
