"""What a job does: its part of the grid, by what the command does for all of it on one machine."""

import dataclasses
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.running.campaign import Plan, plan
from experiments.distributed_momentum.slurm import ledger
from experiments.distributed_momentum.slurm.queue import Key
from experiments.shared.devices import prepare_devices


@dataclasses.dataclass(frozen=True)
class Work:
    """The runs of a job, to be called where it runs, as often as Slurm starts it.

    carry_out: runs a plan and gives the exit code; what is on disk it leaves alone.
    """

    key: Key
    runs: tuple[Run, ...]
    results: Path
    carry_out: Callable[[Plan], int]

    def __call__(self) -> None:
        # submitit holds off the one and requeues at the other, which Slurm does by itself.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        prepare_devices()
        if code := self.carry_out(plan(self.own_runs(), self.results)):
            sys.exit(code)

    def own_runs(self) -> list[Run]:
        """Those that no later job was given: one that Slurm took for dead may start again."""
        owners = ledger.owners(ledger.read(self.results))
        return [
            run for run in self.runs if run.file not in owners or owners[run.file].key == self.key
        ]
