"""Queue: the states of jobs, as Slurm tells them."""

import os
import subprocess
from typing import NamedTuple


class Queued(NamedTuple):
    state: str
    name: str  # of all jobs of an array


UNKNOWN = Queued("UNKNOWN", "")  # Slurm knows a job for some minutes after its end
# A job in any other state may run, or run again.
ENDED = set(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED "
    "TIMEOUT UNKNOWN".split()
)


def ask(timeout: float = 60.0) -> dict[str, Queued]:
    """The user's jobs by number, such as 123_4; those that ended some minutes ago are among them.

    Raises:
      OSError: squeue failed or took longer than `timeout` seconds: nothing is known of any job.
    """
    command = ["squeue", "--array", "--states=all", "--noheader", "--format=%i|%T|%j"]
    command.append(f"--user={os.getuid()}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"squeue: {error}") from error
    if done.returncode:
        raise OSError(f"squeue: {done.stderr.strip() or f'exit code {done.returncode}'}")
    lines = (line.strip().split("|", 2) for line in done.stdout.splitlines())
    return {number: Queued(state, name) for number, state, name in lines}
