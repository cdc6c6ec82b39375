"""Unfinished runs: the checkpoints below a folder of results."""

import datetime
from pathlib import Path
from typing import NamedTuple

from experiments.distributed_momentum.options.unfinished import Options
from experiments.distributed_momentum.running.simulate import CHECKPOINTS, code
from experiments.shared.options.checks import check_options
from simbyz import records
from simbyz.records.provenance import versions
from simbyz.sweeps import checkpoints


class Unfinished(NamedTuple):
    """Runs of a checkpoint that are in no file of results yet."""

    path: Path
    header: checkpoints.Header
    runs: list[str]
    obstacle: str  # why they can't go on from there; empty if they can


def unfinished(folder: Path) -> list[Unfinished]:
    """The checkpoints below a folder of results, those that are furthest first; of two of the same
    runs the one that would be taken.

    Raises:
      FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no results folder {folder}; give another with --results")
    now = {"code_digest": code(), "jax_version": versions()["jax_version"]}
    found: dict[tuple[str, ...], Unfinished] = {}
    in_order = sorted(checkpoints.headers(folder / CHECKPOINTS), key=lambda it: it[1].step)
    for path, header in reversed(in_order):
        runs = [run for run in header.runs if not records.is_whole(folder / run)]
        obstacle = _obstacle(path, header, now)
        if runs and (header.runs not in found or found[header.runs].obstacle):
            found[header.runs] = Unfinished(path, header, runs, obstacle)
    return list(found.values())


def prepare(options: Options) -> list[Unfinished]:
    check_options(options, "results")
    return [one for folder in options.results for one in unfinished(folder)]


def execute(options: Options, found: list[Unfinished], stop: object) -> None:
    """Print what was found."""
    if not found:
        print(f"nothing is under way in {', '.join(map(str, options.results))}")
    for one in found:
        print("\n".join(lines_of(one)))


def lines_of(one: Unfinished) -> list[str]:
    """How far a checkpoint is, and its runs."""
    status = one.path.stat()
    written = datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC)
    return [
        f"step {one.header.step} of {one.header.steps}, written {written:%Y-%m-%d %H:%M} UTC, "
        f"{status.st_size / 1e6:.1f} MB, "
        + (f"can't go on: {one.obstacle}" if one.obstacle else "goes on"),
        *(f"    {run.removesuffix('.parquet')}" for run in one.runs),
    ]


def _obstacle(path: Path, header: checkpoints.Header, now: dict[str, str]) -> str:
    for key, value in now.items():
        if header.program.get(key) != value:
            return f"{key} was {header.program.get(key)}, is {value} now"
    try:
        checkpoints.load(path)
    except (OSError, ValueError) as error:
        return str(error)
    return ""
