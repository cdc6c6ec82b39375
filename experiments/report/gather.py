"""Results folders to what the page embeds: configurations, runs, comparisons and their curves."""

import contextlib
import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.distributed_momentum.analysis.pairs import expected_runs
from experiments.distributed_momentum.grid.cells import Cell, paper_names, reference_of
from experiments.distributed_momentum.grid.settings import PAPER
from experiments.report.commands import cell_of, command_of
from experiments.report.curves import COLUMNS, METRICS, Curves, curves_of, encode
from experiments.shared.mixing import code_of, refuse_mixed
from simbyz import records

FILES_AT_ONCE = 100
SUMMARY = ("highest_accuracy", "final_accuracy")
VERSIONS = ("simbyz_version", "jax_version", "device_kind", "code")

# Those of `sheets` have been looked for.
NOTHING = (
    "no run of an experiment that has a page in {}: there are pages of distributed_momentum, "
    "defence_matrix, attack_strength, benchmark, decentralised"
)


def gather(
    folders: Sequence[Path],
    *,
    allow_mixed: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """Everything that the page shows, ready for JSON.

    Args:
      folders: of results. A run that lies in several is taken once, from the first; where it has
        other results in another, that is told.
      allow_mixed: runs of different code or settings may be shown together.
      tell: is given a line on every file that is left out, and why.
      progress: called with the runs read so far and all of them.

    Raises:
      FileNotFoundError: a folder is not there.
      ValueError: the folders hold no run of the experiment, or mixed ones.
    """
    parts = [_runs_in(folder, tell) for folder in folders]
    if empty := [folder for folder, part in zip(folders, parts, strict=True) if part.empty]:
        raise ValueError(NOTHING.format(empty[0]))
    everywhere = pd.concat(parts, ignore_index=True)
    everywhere["code"] = code_of(everywhere)
    runs = everywhere.drop_duplicates("digest")
    found, cells = {}, {}
    for row in runs.to_dict("records"):
        cell = cell_of(row)
        if cell is None or not _is_seed(row["seed"]):
            tell(f"left out {row['file']}: it is of no configuration of the experiment")
        else:
            found[row["digest"]], cells[row["digest"]] = row, cell
    curves = {}
    for digest, curve in _read_curves(found, tell):
        curves[digest] = curve
        progress(len(curves), len(found))
    # A file whose steps can't be read is told of above, and is no run.
    found = {digest: found[digest] for digest in found if digest in curves}
    if not found:
        names = ", ".join(map(str, folders))
        raise ValueError(NOTHING.format(names))
    everywhere = everywhere[everywhere["digest"].isin(found)]
    refuse_mixed(everywhere, allowed=allow_mixed)
    _tell_of_others(everywhere, tell)
    order = list(dict.fromkeys(cells[digest] for digest in found))
    number = {cell: i for i, cell in enumerate(order)}
    found = dict(sorted(found.items(), key=lambda it: (number[cells[it[0]]], it[1]["seed"])))
    return {
        "folders": [str(folder) for folder in folders],
        "grid": {
            dataset: expected_runs(dataset)
            for dataset in PAPER
            if any(cell.dataset == dataset for cell in order)
        },
        "configurations": [_configuration(cell) for cell in order],
        "comparisons": list(_comparisons(number)),
        "versions": _versions(list(found.values())),
        **_columns(
            [number[cells[digest]] for digest in found],
            list(found.values()),
            [curves[digest] for digest in found],
        ),
    }


def _runs_in(folder: Path, tell: Callable[[str], None]) -> pd.DataFrame:
    with _telling(tell):
        return records.read_runs(folder).assign(folder=folder)


def _tell_of_others(runs: pd.DataFrame, tell: Callable[[str], None]) -> None:
    """How many runs have other results in a later folder than in the first that has them."""
    results = runs.reindex(columns=list(SUMMARY)).fillna(-1.0)
    first = results.groupby(runs["digest"]).transform("first")
    other = runs[(results != first).any(axis=1)]
    if len(other):
        tell(
            f"left out {len(other)} files of runs that an earlier folder has with other results, "
            f"such as {Path(other['folder'].iloc[0]) / other['file'].iloc[0]}"
        )


def _read_curves(found: dict[str, dict], tell: Callable[[str], None]) -> Iterator[tuple]:
    """(digest, Curves) of every run that can be read, some files at a time to bound the memory."""
    by_folder: dict[Path, list[str]] = {}
    for row in found.values():
        by_folder.setdefault(row["folder"], []).append(row["file"])
    for folder, files in by_folder.items():
        for first in range(0, len(files), FILES_AT_ONCE):
            some = files[first : first + FILES_AT_ONCE]
            with _telling(tell):
                steps = records.read_steps(folder, files=some, columns=COLUMNS)
            for digest, one in steps.groupby("digest", observed=True, sort=False):
                yield digest, curves_of(one)


@contextlib.contextmanager
def _telling(tell: Callable[[str], None]) -> Iterator[None]:
    """Warnings on files that were skipped become lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = lambda message, *arguments, **options: tell(str(message))
        yield


def _configuration(cell: Cell) -> dict:
    return {
        "name": cell.name,
        "dataset": cell.dataset,
        "rule": cell.rule,
        "attack": cell.attack,
        "n": cell.n,
        "f": cell.f,
        "place": cell.momentum_at,
        "rate": cell.learning_rate,
        "nesterov": cell.nesterov,
        "other": " ".join(cell.unusual),
        "in_grid": cell.name in paper_names(cell.dataset),
        "command": command_of(cell),
    }


def _comparisons(number: dict[Cell, int]) -> Iterator[dict]:
    """One a cell of the heatmap: configurations that differ in the place of momentum alone."""
    groups: dict[Cell, dict[str, int]] = {}
    for cell, i in number.items():
        if cell.attack != "none":
            key = dataclasses.replace(cell, momentum_at="update")
            groups.setdefault(key, {})[cell.momentum_at] = i
    for key, at in groups.items():
        yield {"at": at, "reference": number.get(reference_of(key))}


def _columns(of: list[int], rows: list[dict], curves: list[Curves]) -> dict:
    """The runs as columns. The points of all runs lie one after the other, metric by metric."""
    grids: dict[tuple, int] = {}
    which = [grids.setdefault(tuple(curve.steps.tolist()), len(grids)) for curve in curves]
    runs = {
        "configuration": of,
        "seed": [int(row["seed"]) for row in rows],
        "diverged": [curve.diverged for curve in curves],
        "grid": which,
    }
    for name in SUMMARY:
        runs[name] = [_number(row.get(name)) for row in rows]
    metrics = {
        name: metric._asdict() | encode([curve.values[name] for curve in curves])
        for name, metric in METRICS.items()
    }
    return {"runs": runs, "grids": [list(grid) for grid in grids], "metrics": metrics}


def _versions(rows: list[dict]) -> list[str]:
    """The code and devices behind the runs: several lines if runs of different kinds are shown."""
    kinds = Counter(tuple(str(row.get(name, "unknown")) for name in VERSIONS) for row in rows)
    return [
        f"{count} runs: simbyz {simbyz}, jax {jax}, on {device}, {code}"
        for (simbyz, jax, device, code), count in kinds.most_common()
    ]


def _is_seed(value: Any) -> bool:
    return isinstance(value, int | float) and value >= 0 and float(value).is_integer()


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and np.isfinite(value)
    return float(value) if is_number else None
