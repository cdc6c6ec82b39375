"""Estimated seconds of runs and programs, before any is computed.

From measurements on one core of a server of 2023: a step of a run on digits takes 0.3 ms of a cheap
rule, of which a rule alone is the smaller part, and a program 15 s to compile, and about 1.5 s more
for each of its rules.
"""

import os
from collections.abc import Iterable

from experiments.benchmark.entries.catalogue import ASCENT, SEARCHED
from experiments.benchmark.runs import Run, programs

PROGRAM, RULE = 15.0, 1.5  # seconds to compile
STEP, EXAMPLES = 0.25e-3, 20 * 16  # of a run on digits, and how many a step reads
DIMENSION = 64 * 16 + 16 * 10 + 26  # parameters of its network
# A rule's seconds in a step beside 0.1 ms, at n = 20, where they are many more.
SLOW = {
    "smea": 1.7e-3,
    "minimum_variance_averaging": 1.7e-3,
    "filter_l2": 0.6e-3,
    "caf": 0.6e-3,
    "dnc": 0.5e-3,
    "minimum_diameter_averaging": 0.5e-3,
    "faba": 0.4e-3,
    "medoid": 0.4e-3,
    "multi_krum": 0.4e-3,
    "krum": 0.3e-3,
    "bulyan": 0.5e-3,
}
CHEAP = 0.1e-3
CLIMB = 4000  # evaluations of the rule in a step by a climb, in round numbers


def seconds_of(run: Run, dimension: int) -> float:
    """Of one run, on one core."""
    size = dimension / DIMENSION
    rule = size * (CHEAP + SLOW.get(run.rule, 0.0)) + (run.pre != "none") * 0.3e-3 * size
    times = 1 if run.attack not in SEARCHED else CLIMB if run.attack == ASCENT else run.evaluations
    step = STEP * size * run.n * run.batch_size / EXAMPLES + times * rule
    return run.steps * step


def estimate(runs: Iterable[Run], missing: Iterable[Run], dimension: int) -> tuple[int, float]:
    """How many programs are to be compiled, and the seconds of all on this machine's cores."""
    todo = set(missing)
    needed = [some for some in programs(runs).items() if todo.intersection(some[1])]
    compiling = sum(PROGRAM + RULE * len(program.rules) for program, _ in needed)
    running = sum(seconds_of(run, dimension) for run in todo)
    return len(needed), compiling + running / cores()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
