"""Estimated seconds of runs and programs, before any is computed.

From measurements on one core of a server of 2023, of the kept runs: a step of a run on digits takes
0.25 ms with a cheap rule, and a program 15 s to compile, and about 1.5 s more for each of its
rules, twice as much where attacks search through them.
"""

from collections.abc import Iterable

from experiments.benchmark.entries.catalogue import ASCENT, SEARCHED
from experiments.benchmark.runs import Run, programs
from experiments.shared.devices import cores

PROGRAM, RULE = 15.0, 1.5  # seconds to compile
STEP, EXAMPLES = 0.15e-3, 20 * 16  # of a run on digits, and how many a step reads
DIMENSION = 64 * 16 + 16 * 10 + 26  # parameters of its network
CHEAP = 0.1e-3
# A rule's seconds in a step beside that, at n = 20, where they are many more: of n × n numbers.
SLOW = {
    "smea": 1.1e-3,
    "minimum_variance_averaging": 0.6e-3,
    "gas": 0.6e-3,
    "lfighter": 0.6e-3,
    **dict.fromkeys(("caf", "dnc", "fedseca", "minimum_diameter_averaging"), 0.4e-3),
    **dict.fromkeys(("bulyan", "faba", "filter_l2", "krum", "lasa", "medoid"), 0.35e-3),
    "multi_krum": 0.35e-3,
    **dict.fromkeys(("autogm", "clipped_clustering", "flame", "huber_center"), 0.2e-3),
}
MIXING = {"nnm": 0.4e-3, "arc": 0.1e-3, "bucketing": 0.1e-3}
CLIMB = 4000  # evaluations of the rule in a step by a climb, in round numbers


def seconds_of(run: Run, dimension: int) -> float:
    """Of one run, on one core."""
    size = dimension / DIMENSION
    rule = size * CHEAP + SLOW.get(run.rule, 0.0) + MIXING.get(run.pre, 0.0)
    times = 1 if run.attack not in SEARCHED else CLIMB if run.attack == ASCENT else run.evaluations
    step = STEP * size * run.n * run.batch_size / EXAMPLES + times * rule
    return run.steps * step


def estimate(runs: Iterable[Run], missing: Iterable[Run], dimension: int) -> tuple[int, float]:
    """How many programs are to be compiled, and the seconds of all on this machine's cores."""
    todo = set(missing)
    needed = [some for some in programs(runs).items() if todo.intersection(some[1])]
    compiling = sum(
        PROGRAM + RULE * len(program.rules) * (1 + (program.attacks[0] in SEARCHED))
        for program, _ in needed
    )
    running = sum(seconds_of(run, dimension) for run in todo)
    return len(needed), compiling + running / cores()
