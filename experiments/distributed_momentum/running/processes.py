"""Who runs what, where several processes run one plan."""

import hashlib
from collections.abc import Callable

import jax
import numpy as np

from experiments.distributed_momentum.grid.programs import Run, programs
from experiments.distributed_momentum.running.campaign import Plan
from experiments.shared.hosts import everybodys


def owners(runs: list[Run], seconds: Callable[[Run], float], processes: int) -> list[int]:
    """Which process runs each of the runs: about the same time each, and in one piece of the list
    sorted by program, so that no more than processes - 1 programs are compiled twice.
    """
    ordered = [run for group in programs(runs) for run in group]
    times = np.array([seconds(run) for run in ordered])
    middles = np.cumsum(times) - times / 2
    pieces = np.minimum(middles / times.sum() * processes, processes - 1).astype(int)
    of = dict(zip(ordered, pieces.tolist(), strict=True))
    return [of[run] for run in runs]


def own_share(what: Plan, seconds: Callable[[Run], float]) -> Plan:
    """The runs left to this process, by the disk and the times that process 0 sees: a folder may
    change while the others look.

    Raises:
      ValueError: the processes were asked for different runs.
    """
    if jax.process_count() == 1:
        return what
    runs = sorted([*what.todo, *what.on_disk, *what.recorded], key=lambda run: run.file)
    digest = hashlib.sha256("\n".join(run.file for run in runs).encode()).digest()
    digests = everybodys(np.frombuffer(digest, np.uint8))
    if other := np.flatnonzero((digests != digests[0]).any(axis=1)).tolist():
        raise ValueError(
            f"processes {other} were asked for other runs than process 0: give all of them the "
            "same options"
        )
    todo = set(what.todo)
    wanted = [run for run in runs if run in todo]
    owner = dict(zip(wanted, owners(wanted, seconds, jax.process_count()), strict=True))
    by_first = everybodys(np.array([owner.get(run, -1) for run in runs], np.int32))[0]
    mine = [
        run
        for run, process in zip(runs, by_first.tolist(), strict=True)
        if process == jax.process_index() and run in todo
    ]
    return what._replace(todo=mine)
