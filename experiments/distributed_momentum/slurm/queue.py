"""What Slurm says of jobs."""

import dataclasses
import os
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

# A job in any other state may run, or run again.
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
FORGOTTEN = "FORGOTTEN"  # Slurm knows a job for some minutes after its end


@dataclasses.dataclass(frozen=True)
class Key:
    """What names a job before Slurm has given it a number."""

    name: str  # of the array
    index: int  # in the array


class Queued(NamedTuple):
    number: str  # such as 123_4
    state: str


class NoAnswer(Exception):
    """Slurm can't be asked at the moment: nothing is known of any job."""


def ask(timeout: float = 60.0) -> dict[Key, Queued]:
    """The user's jobs, those included that ended some minutes ago.

    Raises:
      NoAnswer: squeue failed or took longer than `timeout` seconds.
    """
    command = ["squeue", "--array", "--states=all", "--noheader", "--format=%K|%i|%T|%j"]
    command.append(f"--user={os.getuid()}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(f"squeue: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise NoAnswer(f"squeue: {lines[0]}")
    return read(done.stdout)


def read(text: str) -> dict[Key, Queued]:
    """squeue's answer, a line a job: index (N/A outside an array), number, state, name."""
    jobs = {}
    for line in text.splitlines():
        index, number, state, name = line.strip().split("|", 3)
        jobs[Key(name, int(index) if index.isdigit() else 0)] = Queued(number, state)
    return jobs


def state_of(key: Key, queue: Mapping[Key, Queued]) -> str:
    return queue[key].state if key in queue else FORGOTTEN


def has_ended(state: str) -> bool:
    return state in ENDED or state == FORGOTTEN
