"""A grid on a cluster: a Slurm job for each compiled program, submitted, waited for, tried again.

The jobs go on when this command ends. Started again, it waits for those still queued and submits
only what neither the disk nor a job has.
"""

import contextlib
import io
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.distributed_momentum.grid.programs import Run, programs
from experiments.distributed_momentum.running.campaign import Plan
from experiments.distributed_momentum.running.simulate import is_finished
from experiments.distributed_momentum.slurm import ledger
from experiments.distributed_momentum.slurm import queue as slurm_queue
from experiments.distributed_momentum.slurm.job import Work
from experiments.distributed_momentum.slurm.ledger import Busy, Job
from experiments.distributed_momentum.slurm.log import last_error
from experiments.distributed_momentum.slurm.queue import FORGOTTEN, Key, NoAnswer, Queued
from experiments.distributed_momentum.slurm.request import SlurmRequest, require_slurm
from experiments.shared.progress import Progress
from simbyz import records

EVERY = 10.0  # seconds between two questions to Slurm


class Refused(Exception):
    """Slurm took no job."""


class Part(NamedTuple):
    """Runs for one job: all of one program, so that it compiles once."""

    runs: list[Run]
    attempt: int


def launch(
    what: Plan, results: Path, carry_out: Callable[[Plan], int], request: SlurmRequest
) -> int:
    """Run a plan on a cluster, and say how it went; returns the exit code.

    Args:
      what: the plan.
      results: the folder of results, which the nodes of the cluster share.
      carry_out: what each job does with its part of the plan; it is pickled.
      request: what a job may use.
    """
    if not what.todo:
        return carry_out(what)
    try:
        submitit = require_slurm()
        records.prepare_folder(results)
        executor = submitit.SlurmExecutor(ledger.folder_of(results))
        executor.update_parameters(**request.parameters())
        with ledger.held(results):
            return Launch(what, results, carry_out, request, executor).run()
    except (Refused, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Busy, NoAnswer) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


class Launch:
    """The jobs of one command: `jobs` is the ledger, `failed` the runs given up, by file."""

    def __init__(
        self,
        what: Plan,
        results: Path,
        carry_out: Callable[[Plan], int],
        request: SlurmRequest,
        executor: Any,
    ):
        self.runs = {run.file: run for run in what.todo}
        self.results, self.carry_out, self.request = results.absolute(), carry_out, request
        self.executor = executor
        self.jobs = ledger.read(results)
        self.failed: set[str] = set()

    def run(self) -> int:
        queue = slurm_queue.ask()
        for job in self.settle(queue):  # what an earlier command left: its attempts do not count
            if missing := self.missing(job):
                print(f"note: {self.told(job, missing)}", file=sys.stderr)
        self.submit([Part(runs, 1) for runs in programs(self.free())])
        jobs = self.waited_for()
        print(
            f"{len(self.runs)} runs to do in {len(jobs)} Slurm jobs, "
            f"{sum(job.key in queue for job in jobs)} of them submitted earlier; "
            f"logs: {ledger.folder_of(self.results)}",
            flush=True,
        )
        try:
            self.wait()
        except KeyboardInterrupt:
            numbers = " ".join(str(job.number) for job in self.waited_for())
            print(
                f"stopped waiting: the jobs {numbers} go on; the same command waits for them "
                f"again, `scancel {numbers}` ends them",
                file=sys.stderr,
            )
            return 130
        print(
            f"results: {self.results} ({len(self.runs)} runs asked for, {len(self.failed)} failed)"
        )
        return 1 if self.failed else 0

    def wait(self) -> None:
        """Until no job has runs of this command: what ends without them is tried again."""
        progress, done, silent = Progress(len(self.runs)), 0, False
        try:
            while jobs := self.waited_for():
                time.sleep(EVERY)
                try:
                    queue = slurm_queue.ask()
                    silent = False
                except NoAnswer as error:  # the jobs go on, whether or not Slurm answers
                    if not silent:
                        print(f"note: {error}; asking until it answers", file=sys.stderr)
                    silent = True
                    continue
                self.submit([part for job in self.settle(queue) if (part := self.again(job))])
                now = sum((self.results / file).exists() for file in self.runs)
                progress.add(now - done, counts(jobs, queue))
                done = now
        finally:
            progress.close()

    def waited_for(self) -> list[Job]:
        """The jobs that may still run and have runs of this command."""
        return [
            job
            for job in self.jobs
            if job.state is None and any(file in self.runs for file in job.files)
        ]

    def free(self) -> list[Run]:
        """Runs that neither the disk nor a job has."""
        taken = {file for job in self.jobs if job.state is None for file in job.files}
        return [
            run
            for file, run in self.runs.items()
            if file not in taken and not is_finished(self.results, run)
        ]

    def missing(self, job: Job) -> list[Run]:
        """The runs that were asked of a job, and by this command, and are not on disk."""
        mine = [self.runs[file] for file in job.files if file in self.runs]
        return [run for run in mine if not is_finished(self.results, run)]

    def settle(self, queue: Mapping[Key, Queued]) -> list[Job]:
        """Write down what has become of the jobs; returns those that have ended since."""
        ended = []
        for job in self.jobs:
            if job.state is None:
                state = slurm_queue.state_of(job.key, queue)
                job.number = queue[job.key].number if job.key in queue else job.number
                if slurm_queue.has_ended(state):
                    job.state = state
                    ended.append(job)
        ledger.write(self.results, self.jobs)
        return ended

    def again(self, job: Job) -> Part | None:
        """What is left of a job that has ended, for another; None if nothing, or it's given up."""
        missing = self.missing(job)
        if not missing:
            return None
        # One that finished a run got on: only runs that nothing becomes of are given up.
        attempt = 1 if len(missing) < len(job.files) else job.attempt + 1
        if job.state == "CANCELLED":
            fate = "not tried again, as somebody cancelled it; the same command does"
        elif attempt > self.request.retries + 1:
            fate = f"given up after {job.attempt} attempts"
        else:
            fate = f"these go into another job, attempt {attempt} of {self.request.retries + 1}"
        print(f"failed: {self.told(job, missing)}; {fate}", file=sys.stderr, flush=True)
        if job.state == "CANCELLED" or attempt > self.request.retries + 1:
            self.failed |= {run.file for run in missing}
            return None
        return Part(missing, attempt)

    def told(self, job: Job, missing: Sequence[Run]) -> str:
        """What a job that has ended left, and why, as its log says."""
        log = ledger.folder_of(self.results) / f"{job.number}_0_log.err"
        state = "UNKNOWN" if job.state == FORGOTTEN else job.state
        return (
            f"job {job.number} ({state}), {len(missing)} of its {len(job.files)} runs are missing: "
            f"{last_error(log)} [{log}]"
        )

    def submit(self, parts: Sequence[Part]) -> None:
        """One array of jobs, each with a part.

        Raises:
          Refused: Slurm did not take it.
        """
        if not parts:
            return
        name = f"simbyz-{secrets.token_hex(4)}"
        array = [
            Job(name, index, [run.file for run in part.runs], part.attempt)
            for index, part in enumerate(parts)
        ]
        # Written first: were this process killed after sbatch, the next one finds the jobs by name.
        ledger.write(self.results, self.jobs + array)
        self.executor.update_parameters(job_name=name)
        works = [
            Work(job.key, tuple(part.runs), self.results, self.carry_out)
            for job, part in zip(array, parts, strict=True)
        ]
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit repeats sbatch's lines there
                submitted = self.executor.submit_array(works)
        except Exception as error:  # submitit tells failures by more than one type
            lines = [line for line in str(error).splitlines() if "sbatch: error" in line]
            raise Refused(f"Slurm took no job: {(lines or [str(error)])[0].strip()}") from error
        for job, handle in zip(array, submitted, strict=True):
            job.number = handle.job_id
        self.jobs += array
        ledger.write(self.results, self.jobs)


def counts(jobs: Sequence[Job], queue: Mapping[Key, Queued]) -> str:
    """How many jobs are in which state, such as "2 running, 3 pending"."""
    states = [slurm_queue.state_of(job.key, queue).lower() for job in jobs]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
