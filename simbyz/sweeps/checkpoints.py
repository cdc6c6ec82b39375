"""Checkpoints: the state of runs on disk, so that a process that died can go on.

A file holds the state and the metrics so far of runs that are computed together, at one step. Its
first line, JSON, says of which runs, at which step and by what program; arrays follow, and a
SHA-256 of all before. The two newest of the same runs are kept, and a new one is on the disk before
an old one goes: one of them can always be read.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from simbyz._arrays.checks import require_callable
from simbyz.records.whole_files import write_whole

FORMAT = "simbyz checkpoint 1"
SUFFIX = ".checkpoint"
CHECKSUM_SIZE = hashlib.sha256().digest_size
LONGEST_HEADER = 10_000_000
OLD = 60.0  # seconds


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Where a sweep keeps its checkpoints.

    folder: of the files; made when the first is written. every: seconds between two, at least;
    infinite for none but the one before a stop. program: what the numbers depend on beside the
    runs, such as versions; a checkpoint of another program is not taken. finished: whether a run,
    by its name, needs no checkpoint any more.
    """

    folder: Path
    every: float
    program: Mapping[str, str | int | bool]
    finished: Callable[[str], bool]

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))  # a notebook may give text
        check_every(self.every)
        if not (isinstance(self.program, Mapping) and _is_program(dict(self.program))):
            # Of other values a checkpoint would be written that counts as damaged.
            raise TypeError(f"program must map texts to texts, ints or flags, got {self.program!r}")
        require_callable("finished", self.finished, "lambda name: False")


class Header(NamedTuple):
    runs: tuple[str, ...]
    step: int
    steps: int  # of the whole run
    seconds: float  # that a run took so far
    program: dict[str, str | int | bool]
    numbers: Mapping[str, str] = {}  # digest of each run's seed and hyperparameters, by its name


class Checkpoint(NamedTuple):
    header: Header
    arrays: list[np.ndarray]  # each (runs, ...)


def check_every(seconds: float) -> None:
    """Raises TypeError or ValueError if this can't be the seconds between checkpoints."""
    if not isinstance(seconds, Real):
        raise TypeError(f"checkpoint_every must be a number of seconds, got {seconds!r}")
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(
            f"checkpoint_every must be at least 0 seconds, inf for none, got {seconds}"
        )


def save(folder: Path, checkpoint: Checkpoint, keep: Path | None = None) -> Path:
    """Writes a checkpoint, then removes the others of the same runs.

    Args:
      folder: for the file.
      checkpoint: its content.
      keep: the one before, which stays.

    Returns:
      The path.

    Raises:
      OSError: it can't be written; the earlier ones are still there.
    """
    header, arrays = checkpoint
    family = _family(header.runs)
    path = folder / f"{family}-{header.step:09}{SUFFIX}"

    def write(file: BinaryIO) -> None:
        hashed = _Hashed(file)
        line = {"format": FORMAT, "arrays": len(arrays)} | header._asdict()
        hashed.write(json.dumps(line).encode() + b"\n")
        for array in arrays:
            np.lib.format.write_array(hashed, np.asarray(array), allow_pickle=False)
        file.write(hashed.sum.digest())

    write_whole(path, write, "checkpoint")
    # What a process that was killed left of the same runs goes too.
    for other in _matching(folder, f"{family}-*{SUFFIX}", f".{family}-*.tmp"):
        if other not in (path, keep):
            other.unlink(missing_ok=True)
    return path


def find(
    checkpoints: Checkpoints, wanted: Collection[str], numbers: Mapping[str, str] = {}
) -> tuple[Path, Checkpoint] | tuple[None, None]:
    """The furthest checkpoint of this program that holds any of the wanted runs, and its path.

    One that is damaged, of another program, or of a wanted run with other `numbers`, the digests of
    `Header`, is named in a warning and passed over. Without such digests, it is taken.
    """
    for path, header in sorted(
        headers(checkpoints.folder), key=lambda it: it[1].step, reverse=True
    ):
        if not set(header.runs) & set(wanted):
            continue
        now = dict(checkpoints.program)
        if different := [key for key in now if header.program.get(key) != now[key]]:
            key = different[0]
            _warn(f"not taken: {path}: {key} was {header.program.get(key)}, is {now[key]} now")
            continue
        kept = {run: header.numbers.get(run) for run in set(header.numbers) & set(numbers)}
        if other := sorted(run for run in kept if run in wanted and kept[run] != numbers[run]):
            _warn(f"not taken: {path}: {other[0]} had another seed or other hyperparameters")
            continue
        try:
            return path, load(path)
        except FileNotFoundError:
            continue  # its runs are finished, by another process
        except (OSError, ValueError) as error:
            _warn(f"skipped {path}: {error}")
    return None, None


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
      ValueError: it is damaged, or none.
      OSError: it can't be read.
    """
    with open(path, "rb") as file:
        content = os.fstat(file.fileno()).st_size - CHECKSUM_SIZE
        digest, left = hashlib.sha256(), content
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
        if content <= 0 or file.read() != digest.digest():
            raise ValueError("its checksum is wrong: it is damaged")
        file.seek(0)
        header, count = _header(file)
        try:
            arrays = [np.lib.format.read_array(file, allow_pickle=False) for _ in range(count)]
        except (ValueError, TypeError, KeyError, EOFError, OverflowError, MemoryError) as error:
            raise ValueError("its arrays are none: it is damaged") from error
        if file.tell() != content or any(
            array.shape[:1] != (len(header.runs),) for array in arrays
        ):
            raise ValueError("its arrays are not those of its runs: it is damaged")
    return Checkpoint(header, arrays)


def headers(folder: Path) -> Iterator[tuple[Path, Header]]:
    """The checkpoints in a folder that say what they are; the others are named in a warning."""
    for path in _matching(folder, f"*{SUFFIX}"):
        try:
            with open(path, "rb") as file:
                header, _ = _header(file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            _warn(f"skipped {path}: {error}")
        else:
            yield path, header


def discard(folder: Path, finished: Callable[[str], bool]) -> None:
    """Removes the checkpoints whose runs are all finished, what killed writers left, and the folder
    if it is empty then.
    """
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        done = [path for path, header in headers(folder) if all(map(finished, header.runs))]
    for path in done:
        family = path.name.partition("-")[0]
        for one in _matching(folder, f"{family}-*{SUFFIX}", f".{family}-*.tmp"):
            one.unlink(missing_ok=True)
    for left in _matching(folder, f".*{SUFFIX}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            # A younger one may be of a process that is writing now.
            if time.time() - left.stat().st_mtime >= OLD:
                left.unlink()
    with contextlib.suppress(OSError):  # not empty, or not there
        folder.rmdir()


class _Hashed:
    """A file that is written to, with the checksum of all that was."""

    def __init__(self, file: BinaryIO):
        self.file, self.sum = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sum.update(data)
        return self.file.write(data)


def _header(file: BinaryIO) -> tuple[Header, int]:
    line = file.readline(LONGEST_HEADER)
    try:
        values = json.loads(line)
        if values.pop("format") != FORMAT:
            raise ValueError
        count = values.pop("arrays")
        header = Header(**values)
        if not _is_sound(header) or not _is_count(count):
            raise ValueError
        return header._replace(runs=tuple(header.runs)), count
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("its first line is no checkpoint's: it is damaged") from error


def _is_sound(header: Header) -> bool:
    """Whether the values are of the types that a header has, and fit each other."""
    runs, step, steps, seconds, program, numbers = header
    return (
        isinstance(runs, list)
        and bool(runs)
        and all(isinstance(run, str) for run in runs)
        and _is_count(step)
        and _is_count(steps)
        and step <= steps
        and isinstance(seconds, int | float)
        and 0 <= seconds < math.inf
        and _is_program(program)
        and program.get("steps", steps) == steps
        and isinstance(numbers, dict)
        and all(isinstance(digest, str) for digest in numbers.values())
    )


def _is_program(program: object) -> bool:
    return isinstance(program, dict) and all(
        isinstance(name, str) and isinstance(value, str | int) for name, value in program.items()
    )


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _matching(folder: Path, *patterns: str) -> list[Path]:
    """The files of these patterns, sorted; none where there is no folder, or no longer."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(path for pattern in patterns for path in folder.glob(pattern))
    return []


def _family(runs: Collection[str]) -> str:
    return hashlib.sha256("\n".join(runs).encode()).hexdigest()[:16]


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=3)
