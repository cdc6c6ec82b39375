"""Finished runs as a small table: one row a run, made from its steps, kept beside the experiment.

A run is known by the name that its file was given, whatever it is called now, which holds a digest
of its configuration. The same run may come twice, from two folders or two machines: with equal
results it is one run, else it is refused.
"""

import math
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from simbyz import records
from simbyz.records.checked_files import UNREADABLE, read_checked, write_checked
from simbyz.records.divergence import diverged_step
from simbyz.records.parquet import file_name
from simbyz.theory import VARIANCE_NORM_BOUNDS

CONFIGURATION = {  # what defines a run, as far as the analysis asks; with what it is without
    "dataset": "",
    "attack": "",
    "rule": "",
    "conventions": "released",
    "n": 0,
    "f": 0,
    "momentum_at": "",
    "nesterov": False,
    "learning_rate": 0.0,
    "steps": 0,
    "seed": 0,
    "in_paper": False,
    "unusual": "",
}
# Of these, what each run of the experiment has, and none of another that has its steps' columns.
OWN = ("dataset", "attack", "rule", "n", "f", "momentum_at", "nesterov", "learning_rate", "steps")
RESULTS = (
    "highest_accuracy",
    "final_accuracy",
    "mean_log_sampled_ratio",
    "mean_log_honest_ratio",
    "mean_log_sampled_deviation",
    "mean_log_honest_deviation",
    "bound",
    "condition_steps",
    "counted_steps",
    "diverged_step",
)
PROVENANCE = {
    "wall_seconds": math.nan,
    "device_kind": "",
    "num_devices": 0,
    "simbyz_version": "",
    "jax_version": "",
    "time_utc": "",
    "notice": "",
    "code_digest": "",
    "settings": "",
}
ADDED = ("code_digest", "settings")  # since the first tables; empty: unknown
COLUMNS = ("file", "name", *CONFIGURATION, *RESULTS, *PROVENANCE)
STEP_COLUMNS = (
    "loss",
    "sampled_deviation",
    "sampled_norm",
    "honest_deviation",
    "honest_norm",
    "aggregate_norm",
    "distance_from_start",
)


def results_of(steps: pd.DataFrame, rule: str, n: int, f: int) -> dict[str, float]:
    """Summaries of a run's steps, beyond its accuracies.

    diverged_step: the first at which the loss or the parameters are not finite; NaN if none. Means
    of logarithms are over the steps before any of `STEP_COLUMNS` is not finite. counted_steps:
    those at which the mean loss is at most its value at step 0; condition_steps: those of them at
    which deviation / norm of what honest workers send is below the rule's bound (NaN where the rule
    has none).
    """
    diverged = diverged_step(steps["loss"].to_numpy(), steps["distance_from_start"].to_numpy())
    steps = steps.iloc[:-1]  # the last row only has an accuracy
    values = {name: steps[name].to_numpy(float) for name in STEP_COLUMNS}
    finite = np.logical_and.reduce([np.isfinite(column) for column in values.values()])
    end = len(steps) if finite.all() else int(np.argmin(finite))
    with np.errstate(divide="ignore", invalid="ignore"):
        before = {name: np.log(column[:end]) for name, column in values.items()}
        ratio = values["honest_deviation"] / values["honest_norm"]
    counted = values["loss"] <= values["loss"][0]
    bound = VARIANCE_NORM_BOUNDS[rule](n, f) if rule in VARIANCE_NORM_BOUNDS else math.nan

    def mean_log_ratio(kind: str) -> float:
        return _mean(2 * (before[f"{kind}_deviation"] - before[f"{kind}_norm"]))

    return {
        "mean_log_sampled_ratio": mean_log_ratio("sampled"),
        "mean_log_honest_ratio": mean_log_ratio("honest"),
        "mean_log_sampled_deviation": _mean(before["sampled_deviation"]),
        "mean_log_honest_deviation": _mean(before["honest_deviation"]),
        "bound": bound,
        "condition_steps": math.nan
        if math.isnan(bound)
        else float(np.sum(counted & (ratio < bound))),
        "counted_steps": float(np.sum(counted)),
        "diverged_step": math.nan if diverged is None else float(diverged),
    }


def rows_of(folder: str | os.PathLike) -> pd.DataFrame:
    """The table's rows of the runs in a folder; a warning names one of other experiments, if there
    are such.

    Raises:
      FileNotFoundError: there is no such folder.
    """
    runs = records.read_runs(folder)
    rows, others = [], []
    for run in runs.to_dict("records"):
        steps = records.read_steps(folder, files=[run["file"]], columns=STEP_COLUMNS)
        if steps.empty:  # damaged: a warning was given
            continue
        if set(STEP_COLUMNS) - set(steps) or any(_known(run, name, None) is None for name in OWN):
            others.append(run["file"])
            continue
        known = {name: _known(run, name, value) for name, value in CONFIGURATION.items()}
        derived = results_of(steps, known["rule"], int(known["n"]), int(known["f"]))
        row = {"file": own_name(run), "name": run["name"]} | known
        row |= {name: run.get(name, math.nan) for name in ("highest_accuracy", "final_accuracy")}
        row |= derived | {name: _known(run, name, value) for name, value in PROVENANCE.items()}
        rows.append(row)
    if others:
        warnings.warn(
            f"left out {len(others)} of {len(runs)} files in {folder}, which are no runs of this "
            f"experiment, such as {others[0]}",
            RuntimeWarning,
            stacklevel=2,
        )
    return _typed(pd.DataFrame(rows, columns=list(COLUMNS)))


def own_name(run: Mapping) -> str:
    """The name that the file of a row of `read_runs` was given."""
    return file_name(run["name"], run["seed"], run["digest"])


def merge(table: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    """Both tables' runs, once each, sorted by file; of equal runs the first one's row stays.

    Raises:
      ValueError: a run is in both with different results, by name.
    """
    known = table.set_index("file")
    for row in more[more["file"].isin(known.index)].to_dict("records"):
        old = known.loc[row["file"]]
        different = [name for name in RESULTS if not _same(old[name], row[name])]
        if different:
            raise ValueError(
                f"the run {row['name']}, seed {row['seed']}, is in the table with another "
                f"{different[0]}: {old[different[0]]} there, {row[different[0]]} here; remove one"
            )
    fresh = more[~more["file"].isin(known.index)]
    if table.empty:
        return fresh.sort_values("file", ignore_index=True)
    return pd.concat([table, fresh]).sort_values("file", ignore_index=True)


def read_table(path: str | os.PathLike) -> pd.DataFrame:
    """The kept table; empty where there is none yet.

    Raises:
      ValueError: the file is not such a table, or is damaged: its digest is not of its contents.
    """
    if not Path(path).exists():
        return _typed(pd.DataFrame(columns=list(COLUMNS)))
    try:
        table = read_checked(Path(path)).read().to_pandas()
    except UNREADABLE as error:
        raise ValueError(f"{path} is no table of runs: {str(error).splitlines()[0]}") from error
    table = table.assign(**{name: "" for name in ADDED if name not in table.columns})
    if missing := set(COLUMNS) - set(table.columns):
        raise ValueError(f"{path} is no table of runs: it has no column {min(missing)}")
    return table[list(COLUMNS)]


def write_table(table: pd.DataFrame, path: str | os.PathLike) -> None:
    """Writes the table with its digest, whole or not at all.

    Raises:
      OSError: it can't be written.
    """
    content = pa.Table.from_pandas(table, preserve_index=False)
    write_checked(Path(path), content, "table", compression="zstd")


def recorded_files(path: str | os.PathLike) -> frozenset[str]:
    """The files of the runs in a table.

    Raises:
      FileNotFoundError: there is none, and all would be run that somebody wants to skip.
      ValueError: as in `read_table`.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no table {path} to skip runs of; `collect` writes one")
    return frozenset(read_table(path)["file"])


def gather(
    folders: Iterable[str | os.PathLike], tables: Iterable[str | os.PathLike] = ()
) -> pd.DataFrame:
    """The runs of tables and of folders, once each.

    Raises:
      ValueError: as in `merge` and `read_table`.
      FileNotFoundError: there is no such folder.
    """
    runs = _typed(pd.DataFrame(columns=list(COLUMNS)))
    for path in tables:
        runs = merge(runs, read_table(path))
    for folder in folders:
        runs = merge(runs, rows_of(folder))
    return runs


def _known(run: dict, name: str, default):
    value = run.get(name, default)
    return default if value is None or value != value else value


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else math.nan


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    kinds = {name: type(value) for name, value in (CONFIGURATION | PROVENANCE).items()}
    kinds |= dict.fromkeys(("file", "name"), str) | dict.fromkeys(RESULTS, float)
    return table.astype(kinds)
