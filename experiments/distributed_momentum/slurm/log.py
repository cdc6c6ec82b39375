"""Why a job failed, from the last lines of what it wrote."""

import re
from pathlib import Path

# What tells most comes first: this program's own lines, the end of a traceback, Slurm's lines.
TELLING = (
    re.compile(r"(error|failed): "),
    re.compile(r"[\w.]*(Error|Exception|Interrupt)\b"),
    re.compile(r"(slurmstepd|srun): error: "),
    re.compile(r"\S"),
)
END = 64_000  # bytes read of a log


def last_error(path: Path) -> str:
    """The line of a log that says most of its end, or that there is no such log."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - END))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return "it wrote no log"
    for telling in TELLING:
        for line in reversed(lines):
            if telling.match(line):
                return line.strip()
    return "its log is empty"
