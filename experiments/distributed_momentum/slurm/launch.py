"""A grid on a cluster: a Slurm job for each compiled program, submitted, waited for, tried again.

The jobs go on when this command ends. Started again, it finds those that are queued or run by their
name, which says whose results they are for, and their runs by what submitit wrote down for them.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import io
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.distributed_momentum.grid.programs import Run, programs
from experiments.distributed_momentum.running.simulate import is_finished
from experiments.distributed_momentum.running.work import carry_out, prepare_work
from experiments.distributed_momentum.slurm import queue as slurm_queue
from experiments.distributed_momentum.slurm.queue import ENDED, UNKNOWN
from experiments.distributed_momentum.slurm.request import parameters, require_slurm
from experiments.shared.devices import prepare_devices
from experiments.shared.progress import Progress
from experiments.shared.run import CHECKPOINTED, print_plain_warnings, run_with
from experiments.shared.stopping import Stop
from simbyz import records
from simbyz.sweeps import Stopped

EVERY = 10.0  # seconds between two questions to Slurm
# Lines of a log that tell why a job failed: this program's own, the end of a traceback.
TELLING = re.compile(r"(error|failed): |[\w.]*(Error|Exception)\b")


def work(runs: Sequence[Run], options: Any) -> None:
    """A job's part of the grid, as often as Slurm starts it: by what the command does for all of it
    on one machine.
    """
    # submitit holds off the one and requeues at the other, which Slurm does by itself.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    prepare_devices()
    print_plain_warnings()
    prepare = functools.partial(prepare_work, runs=runs)
    if code := run_with(options, prepare, carry_out, stopped=CHECKPOINTED):
        sys.exit(code)


class Job(NamedTuple):
    number: str  # Slurm's, such as 123_4
    runs: list[Run]  # all of one program, so that it compiles once
    attempt: int


class Cluster:
    """Jobs for a folder of results; `folder`, in it, has their logs and what submitit needs."""

    def __init__(self, options: Any):
        self.submitit, self.results = require_slurm(), options.results.resolve()
        self.with_parameters: bool = options.save_parameters
        self.folder = self.results / "slurm"
        self.name = f"simbyz-{hashlib.sha256(str(self.results).encode()).hexdigest()[:12]}"
        self.executor = self.submitit.SlurmExecutor(self.folder)
        self.executor.update_parameters(job_name=self.name, **parameters(options))
        local = dataclasses.replace(options, launcher="local", results=self.results)
        self.work = functools.partial(work, options=local)

    def has(self, run: Run) -> bool:
        return is_finished(self.results, run, self.with_parameters)

    def submit(self, parts: Sequence[list[Run]], attempt: int = 1) -> list[Job]:
        """One array of jobs, each with a part.

        Raises:
          OSError: Slurm did not take it.
        """
        if not parts:
            return []
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit repeats sbatch's lines there
                submitted = self.executor.map_array(self.work, parts)
        except Exception as error:  # submitit tells failures by more than one type
            lines = [line for line in str(error).splitlines() if "sbatch: error" in line]
            raise OSError(f"Slurm took no job: {(lines or [str(error)])[0].strip()}") from error
        numbers = [job.job_id for job in submitted]
        return [Job(*job, attempt) for job in zip(numbers, parts, strict=True)]

    def earlier(self) -> list[Job]:
        """The jobs of earlier commands that may still run; their attempts do not count."""
        return [
            Job(number, self.submitit.SlurmJob(self.folder, number).submission().args[0], 1)
            for number, job in slurm_queue.ask().items()
            if job.name == self.name and job.state not in ENDED
        ]


def launch(todo: Sequence[Run], options: Any, stop: Stop) -> int:
    """Compute runs on a cluster, and say how it went; returns the exit code.

    Raises:
      Stopped: `stop` said so; the jobs go on.
      OSError: Slurm does not answer or takes no job, or another command waits for the same jobs.
    """
    records.prepare_folder(options.results)
    cluster = Cluster(options)
    cluster.folder.mkdir(exist_ok=True)
    with open(cluster.folder / "lock", "w") as lock:  # its end, however it comes, lets go
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(f"another command waits for the jobs of {cluster.results}") from error
        earlier = cluster.earlier()
        taken = {run.file for job in earlier for run in job.runs}
        asked = {run.file for run in todo}
        jobs = [job for job in earlier if asked & {run.file for run in job.runs}]
        before = len(jobs)
        jobs += cluster.submit(programs(run for run in todo if run.file not in taken))
        print(
            f"{len(todo)} runs to do in {len(jobs)} Slurm jobs, {before} of them submitted "
            f"earlier; logs: {cluster.folder}",
            flush=True,
        )
        with contextlib.closing(Progress(len(todo))) as progress:
            wait(cluster, jobs, todo, progress, options.retries + 1, stop)
    failed = sum(not cluster.has(run) for run in todo)
    print(f"results: {cluster.results} ({len(todo)} runs asked for, {failed} failed)")
    return 1 if failed else 0


def wait(
    cluster: Cluster,
    jobs: list[Job],
    todo: Sequence[Run],
    progress: Progress,
    attempts: int,
    stop: Stop,
) -> None:
    """Until no job is left; what ends without its runs goes into another job."""
    done = 0
    while jobs:
        if stop.within(EVERY):
            numbers = " ".join(job.number for job in jobs)
            raise Stopped(
                f"the jobs {numbers} go on; the same command waits for them again, "
                f"`scancel {numbers}` ends them"
            )
        try:
            queue = slurm_queue.ask()
        except OSError as error:  # the jobs go on, whether or not Slurm answers
            progress.add(0, f"{error}; asking until it answers")
            continue
        asked_of, jobs = jobs, []
        states = [queue.get(job.number, UNKNOWN).state for job in asked_of]
        for job, state in zip(asked_of, states, strict=True):
            jobs += after(cluster, job, state, attempts) if state in ENDED else [job]
        now = sum((cluster.results / run.file).exists() for run in todo)
        counts = (f"{states.count(state)} {state.lower()}" for state in dict.fromkeys(states))
        progress.add(now - done, ", ".join(counts))
        done = now


def after(cluster: Cluster, job: Job, state: str, attempts: int) -> list[Job]:
    """Say what a job that has ended left; the job, if any, that this goes into."""
    missing = [run for run in job.runs if not cluster.has(run)]
    if not missing:
        return []
    # One that finished a run got on: only runs that nothing becomes of are given up.
    attempt = 1 if len(missing) < len(job.runs) else job.attempt + 1
    fate = f"these go into another job, attempt {attempt} of {attempts}"
    again = True
    if state == "CANCELLED":
        fate, again = "not tried again, as somebody cancelled it; the same command does", False
    elif attempt > attempts:
        fate, again = f"given up after {job.attempt} attempts", False
    log = cluster.folder / f"{job.number}_0_log.err"
    print(
        f"failed: job {job.number} ({state}), {len(missing)} of its {len(job.runs)} runs are "
        f"missing: {last_error(log)} [{log}]; {fate}",
        file=sys.stderr,
        flush=True,
    )
    return cluster.submit([missing], attempt) if again else []


def last_error(log: Path) -> str:
    """The last line of a log that tells why its job failed."""
    if not log.exists():
        return "it wrote no log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return next(filter(TELLING.match, reversed(lines)), (lines or ["its log is empty"])[-1]).strip()
