"""Runs of different code or settings don't go into one table unless that is asked for.

A run says which code computed it (`code_digest`, and the version of JAX). Runs from before that was
recorded are of unknown code, all of them alike.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.shared.runs import Named, file_of, unfinished
from simbyz import records
from simbyz.records.provenance import versions

REMEDY = "leave one kind out, compute it again with the code of the other, or give --allow-mixed"


def refuse_mixed(runs: pd.DataFrame, *, allowed: bool = False) -> None:
    """Check that the runs may stand in one table.

    Args:
      runs: `name` and `file`; `code_digest`, `jax_version` and `settings` where known.
      allowed: any may.

    Raises:
      ValueError: they are of different code, or one name stands for different settings.
    """
    if runs.empty or allowed:
        return
    refuse_different_code(runs)
    if "settings" not in runs:
        return
    known = runs[runs["settings"].fillna("") != ""]
    for name, some in known.groupby("name", observed=True):
        files = some.drop_duplicates("settings")["file"].tolist()
        if len(files) > 1:
            raise ValueError(
                f"runs of different settings under one name, {name}: {files[0]} and {files[1]}; "
                "remove one kind, or give --allow-mixed"
            )


def refuse_different_code(runs: pd.DataFrame) -> None:
    """The first half of `refuse_mixed`, for experiments whose names leave settings out."""
    if len(runs) and len(kinds := kinds_of(runs)) > 1:
        raise ValueError(f"runs of different code: {', '.join(kinds)}; {REMEDY}")


def refuse_other_code(runs: Sequence[Named], options: Any, digest: str) -> None:
    """Check that what the folder of results lacks of these runs would be of the code of those that
    it has, unless the options allow a mixture.

    Raises:
      ValueError: it would not.
    """
    if not options.allow_mixed:
        folder = options.results
        todo = {file_of(run): run.name for run in unfinished(folder, runs)}
        refuse_different_code(completed(todo, set(map(file_of, runs)), folder, digest))


def kind_lines(runs: pd.DataFrame) -> list[str]:
    """The note beside a table of runs that are mixed; none if they are not."""
    found = kinds_of(runs)
    return [f"runs of different code: {', '.join(found)}"] if len(found) > 1 else []


def kinds_of(runs: pd.DataFrame) -> list[str]:
    """The code of the runs, in words: how many are of which, the most first."""
    counted = code_of(runs).groupby(code_of(runs).to_numpy())
    sizes = counted.size().sort_values(ascending=False, kind="stable")
    first = runs["file"].groupby(code_of(runs).to_numpy()).first()
    return [f"{size} of {code} (such as {first[code]})" for code, size in sizes.items()]


def code_of(runs: pd.DataFrame) -> pd.Series:
    """The code of each run, in words."""
    missing = pd.Series("", index=runs.index)
    digest, version = (
        runs.get(name, missing).fillna("").astype(str) for name in ("code_digest", "jax_version")
    )
    return ("code " + digest + " with jax " + version).where(digest != "", "unknown code")


def completed(
    todo: Mapping[str, str], wanted: Collection[str], folder: Path, digest: str
) -> pd.DataFrame:
    """The mixture that the folder will hold of the files wanted, once those to do are run.

    Args:
      todo: the name of the run of each file that is not finished.
      digest: of the code that will run them.
    """
    new = pd.DataFrame(
        {
            "name": list(todo.values()),
            "file": list(todo),
            "code_digest": digest,
            "jax_version": versions()["jax_version"],
        }
    )
    if len(todo) == len(wanted):
        return new
    found = records.read_runs(folder)
    return pd.concat([found[found["file"].isin(wanted)], new])
