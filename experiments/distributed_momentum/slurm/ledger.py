"""Which job owns which runs: a file beside the results, written whole or not at all.

An array is written down before it is submitted, under a name that no other array has, so that
neither a crash in between nor a second command loses sight of it. A run belongs to the job that
was last given it; a job leaves alone what is no longer its own.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.distributed_momentum.slurm.queue import Key

FOLDER = "slurm"  # in that of the results; the jobs' logs are there too
LEDGER = "jobs.json"
LOCK = "lock"


class Busy(Exception):
    """Another command holds the ledger."""


@dataclasses.dataclass
class Job:
    """files: those of its runs. attempt: 1 for the first. number: Slurm's, when it is known.
    state: its last one; None while it may still run.
    """

    name: str
    index: int
    files: list[str]
    attempt: int
    number: str | None = None
    state: str | None = None

    @property
    def key(self) -> Key:
        return Key(self.name, self.index)


def folder_of(results: Path) -> Path:
    return results.absolute() / FOLDER


def read(results: Path) -> list[Job]:
    """The jobs, oldest first; none where nothing was ever submitted.

    Raises:
      ValueError: the file is not a ledger.
    """
    path = folder_of(results) / LEDGER
    try:
        return [Job(**job) for job in json.loads(path.read_text())]
    except FileNotFoundError:
        return []
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} can't be read ({error}); move it away to go on") from error


def write(results: Path, jobs: Sequence[Job]) -> None:
    path = folder_of(results) / LEDGER
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w") as file:
        json.dump([dataclasses.asdict(job) for job in jobs], file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def owners(jobs: Sequence[Job]) -> dict[str, Job]:
    """The job that was last given a run, by the run's file."""
    return {file: job for job in jobs for file in job.files}


@contextlib.contextmanager
def held(results: Path) -> Iterator[None]:
    """Only one command at a time submits jobs for a folder; its end, however, lets go.

    Raises:
      Busy: another one does.
    """
    folder = folder_of(results)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"another command submits jobs for {results} and waits for them") from error
        yield
