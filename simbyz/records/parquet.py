"""Finished runs on disk: one Parquet file a run, written whole or not at all.

A file holds the columns of a run, one row a step; its name, configuration and summary lie as JSON
in the schema's metadata, and a digest of all of it in the footer.
"""

import contextlib
import hashlib
import itertools
import json
import numbers
import operator
import os
import re
import secrets
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from simbyz.records.checked_files import UNREADABLE, read_checked, write_checked
from simbyz.records.json_values import from_json, require_mapping, to_json

NAME, CONFIGURATION, SUMMARY = b"simbyz.name", b"simbyz.configuration", b"simbyz.summary"
RUN_COLUMNS = ("name", "digest", "settings", "file")  # added to configuration and summary
STEP_COLUMNS = ("name", "seed", "digest")  # what read_steps adds to the columns
RUN = "simbyz.run"  # which run a step is of, while they are read
DAMAGED = ".damaged"  # behind the name of a file that a new run was written in place of
TEMPORARY = re.compile(r"\..+-seed_.+-[0-9a-f]{10}\.(parquet|npz)\.[0-9]+-[0-9a-f]{8}\.tmp")


def run_path(folder: str | os.PathLike[str], name: str, configuration: Mapping[str, Any]) -> Path:
    """Where the run of this configuration lies once it is finished.

    Args:
      folder: the results.
      name: a readable name of the configuration, such as "mnist-little-krum-f_24".
      configuration: everything that defines the run: scalars and lists by name, "seed" among them.

    Raises:
      TypeError: the configuration is no mapping.
      ValueError: there is no seed or it is no whole number, a value is no scalar or list, or the
        name can't name a file.
    """
    require_mapping("configuration", configuration)
    if "seed" not in configuration:
        raise ValueError(f"the configuration of {name!r} has no seed")
    seed = configuration["seed"]
    whole: Any = None if isinstance(seed, bool) else seed
    try:
        operator.index(whole)
    except TypeError:
        raise ValueError(f"the seed of {name!r} must be a whole number, got {seed!r}") from None
    if nested := [key for key, value in configuration.items() if isinstance(value, Mapping)]:
        raise ValueError(f"the configuration of {name!r} must be flat, it nests {nested}")
    file = file_name(name, seed, _digest(configuration))
    # 220 leaves room for what a temporary name adds to it.
    if not name or name.startswith(".") or re.search(r"[/\\\0]", file) or len(file.encode()) > 220:
        raise ValueError(f"{name!r} can't name a file of results")
    return Path(folder) / file


def settings_digest(configuration: Mapping[str, Any]) -> str:
    """A digest of a configuration without its seed: that of all runs to be averaged over."""
    require_mapping("configuration", configuration)
    return _digest({key: value for key, value in configuration.items() if key != "seed"})


def is_finished(
    folder: str | os.PathLike[str], name: str, configuration: Mapping[str, Any]
) -> bool:
    """Whether the run of this configuration is on disk, whole and of just this configuration.

    A damaged file is named in a warning and is no finished run: `write_run` puts the run computed
    again in its place, and sets the file aside.

    Raises:
      PermissionError: there is a file that one may not read, such as another user's.
    """
    path = run_path(folder, name, configuration)
    if not path.exists():
        return False
    require_readable(path)
    try:
        _, found, _ = _metadata(read_checked(path).schema_arrow)
    except UNREADABLE as error:
        _warn_of(path, error)
        return False
    return to_json(found) == to_json(configuration)


def require_readable(path: Path, what: str = "run") -> None:
    """Raises PermissionError if there is a file that one may not read: it is not a damaged one, but
    may be another user's, whole.
    """
    if path.exists() and not os.access(path, os.R_OK):
        raise PermissionError(
            f"{what} {path} can't be read: Permission denied; have its owner let you read it, or "
            "remove it"
        )


def set_aside(path: Path, *, stacklevel: int) -> None:
    """Renames a damaged file, to its name with `DAMAGED` behind, and says so in a warning. An older
    one of that name goes; a folder stays, and a number is added.
    """
    names = (f"{path.name}{DAMAGED}{number or ''}" for number in itertools.count())
    aside = next(other for other in map(path.with_name, names) if not other.is_dir())
    os.replace(path, aside)
    warnings.warn(f"set aside: {path} as {aside.name}", RuntimeWarning, stacklevel=stacklevel)


def is_whole(path: str | os.PathLike[str]) -> bool:
    """Whether there is a run at this path that can be read."""
    try:
        _metadata(read_checked(Path(path)).schema_arrow)
    except UNREADABLE:
        return False
    return True


def write_run(
    folder: str | os.PathLike[str],
    name: str,
    configuration: Mapping[str, Any],
    columns: Mapping[str, np.ndarray],
    summary: Mapping[str, Any],
) -> Path:
    """Writes a finished run in place of any earlier one of its configuration; returns the path.

    A damaged earlier file is set aside under its name with `DAMAGED` behind; a warning says so.

    Args:
      folder, name, configuration: as in `run_path`.
      columns: equally long 1-D arrays, one row a step; NaN where nothing was measured.
      summary: results and provenance, anything that JSON can hold.

    Raises:
      TypeError, ValueError: a name is used twice, or a column or a value is not what it should be.
      PermissionError: there is a file that one may not read; it stays.
      OSError: the file can't be written; nothing is left of it.
    """
    path = run_path(folder, name, configuration)
    require_mapping("columns", columns)
    require_mapping("summary", summary)
    clashes = configuration.keys() & summary.keys()
    clashes |= (configuration.keys() | summary.keys()) & set(RUN_COLUMNS)
    clashes |= columns.keys() & {*STEP_COLUMNS, RUN}
    if clashes:
        raise ValueError(f"run {name!r} gives two values for {', '.join(sorted(clashes))}")
    metadata = {NAME: name, CONFIGURATION: to_json(configuration), SUMMARY: to_json(summary)}
    table = pa.table(_checked(columns), metadata=metadata)
    require_readable(path)
    if path.exists() and not is_whole(path):
        with contextlib.suppress(FileNotFoundError):  # another process was first
            set_aside(path, stacklevel=3)
    write_checked(path, table, "run", write_page_checksum=True)
    return path


def read_runs(
    folder: str | os.PathLike[str], *, files: Sequence[str] | None = None
) -> pd.DataFrame:
    """Reads what every run in `folder` was and gave, one row a run.

    Args:
      folder: the results.
      files: names of files, whose order the rows have; by default all in the folder.

    Returns:
      The columns name, digest (of the configuration), settings (digest of it without the seed) and
      file, then the keys of the configurations and the summaries; a key that a run lacks is NaN
      there. A damaged or foreign file is skipped with a warning, and so is, but where files are
      named, a second one of a run, such as a copy.
    """
    rows = []
    for path in _paths(folder, files):
        try:
            rows.append(_run_row(path, read_checked(path).schema_arrow))
        except UNREADABLE as error:
            _warn_of(path, error)
    if files is None:
        again = _again(Path(folder), rows)
        rows = [row for row in rows if row["file"] not in again]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(RUN_COLUMNS))


def read_steps(
    folder: str | os.PathLike[str],
    *,
    files: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Reads the steps of runs, one row a step, in the order of the file names.

    Args:
      folder: the results.
      files: names of files, as in the column `file` of `read_runs`; by default all in the folder.
      columns: the columns wanted; by default all. A column that a run lacks is NaN there; one that
        all of them lack is left out.

    Returns:
      The columns name, seed and digest, to join on with `read_runs`, then those of the runs. Files
      are skipped as there. A column that runs have in several types is of NumPy's common one, flags
      beside a run that lacks them are floats.
    """
    if isinstance(columns, str):
        raise TypeError(f"columns must be a list of names, got {columns!r}")
    rows: list[dict[str, Any]] = []
    tables = []
    for path in _paths(folder, files):
        try:
            file = read_checked(path)
            row, num_rows = _run_row(path, file.schema_arrow), file.metadata.num_rows
            table = file.read(columns=None if columns is None else list(columns))
        except UNREADABLE as error:
            _warn_of(path, error)
            continue
        # A table of no column would lose its rows below: this one says which run they are of.
        which = {RUN: np.full(num_rows, len(rows))}
        tables.append(pa.table(which | dict(zip(table.column_names, table.columns, strict=True))))
        rows.append(row)
    if files is None:
        again = _again(Path(folder), rows)
        tables = [
            table for row, table in zip(rows, tables, strict=True) if row["file"] not in again
        ]
    if not tables:
        return pd.DataFrame(columns=[*STEP_COLUMNS, *(columns or ())])
    steps = pa.concat_tables(_of_common_types(tables), promote_options="permissive").to_pandas()
    which = steps.pop(RUN).to_numpy()
    steps.insert(0, "name", pd.Categorical([row["name"] for row in rows]).take(which))
    steps.insert(1, "seed", pd.Series([row["seed"] for row in rows]).to_numpy()[which])
    steps.insert(2, "digest", pd.Categorical([row["digest"] for row in rows]).take(which))
    return steps


def prepare_folder(folder: str | os.PathLike[str], holds: str = "results") -> Path:
    """Creates the folder of results and makes sure, before any step is computed, that it works.

    Args:
      folder: its path.
      holds: what goes there, and the name of the option that gives it.

    Raises:
      OSError: nothing can be written there.
    """
    folder = Path(folder)
    probe = folder / f".probe.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"simbyz")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror or error
        raise OSError(
            f"{holds} folder {folder} can't be written: {reason}; give another with --{holds}"
        ) from error
    return folder


def clean(folder: str | os.PathLike[str], *, older_than: float = 60.0) -> list[Path]:
    """Removes what interrupted writers left in `folder`, and returns the paths removed.

    Args:
      folder: the results.
      older_than: seconds; a younger file may be one that another process is writing now.

    Raises:
      ValueError: older_than is no number from 0 on.
    """
    if not isinstance(older_than, numbers.Real) or not older_than >= 0:
        raise ValueError(f"older_than must be a number of seconds from 0 on, got {older_than!r}")
    removed = []
    for path in sorted(Path(folder).glob(".*.tmp")):
        try:
            if TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime >= older_than:
                path.unlink()
                removed.append(path)
        except FileNotFoundError:
            continue  # its writer finished, or another process removed it first
    return removed


def _checked(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    arrays = {key: np.asarray(column) for key, column in columns.items()}
    for key, array in arrays.items():
        if not isinstance(key, str):
            raise TypeError(f"a column's name must be text, got {key!r}")
        if array.ndim != 1 or array.dtype.kind not in "biuf":
            raise ValueError(
                f"column {key!r} must be a 1-D array of numbers, got {array.dtype} {array.shape}"
            )
    sizes = {key: array.size for key, array in arrays.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"columns must be there and equally long, got the lengths {sizes}")
    return arrays


def _paths(folder: str | os.PathLike[str], files: Sequence[str] | None) -> list[Path]:
    if isinstance(files, str):
        raise TypeError(f"files must be a list of names, got {files!r}")
    if files is not None:
        return [Path(folder) / file for file in files]
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no results folder {folder}")
    return sorted(Path(folder).glob("*.parquet"))


def file_name(name: str, seed: int, digest: str) -> str:
    """The name that `write_run` gives the file of a run, and that it may have lost since."""
    return f"{name}-seed_{seed}-{digest}.parquet"


def _again(folder: Path, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The files of runs that another of these rows is of, too, told in a warning each: of several
    the one under its own name counts, or the first.
    """
    own = {row["file"]: file_name(row["name"], row["seed"], row["digest"]) for row in rows}
    first: dict[str, str] = {}
    for file in sorted(own, key=lambda file: file != own[file]):
        first.setdefault(own[file], file)
    again = {file for file in own if file != first[own[file]]}
    for file in own:
        if file in again:
            warnings.warn(
                f"skipped {folder / file}: {first[own[file]]} is of the same run",
                RuntimeWarning,
                stacklevel=3,  # whoever called read_runs or read_steps
            )
    return again


def _of_common_types(tables: list[pa.Table]) -> list[pa.Table]:
    """Tables in which a column is of one type, NumPy's common one of those that it had: Arrow joins
    flags with no number, nor integers beyond 2^53 with floats. Flags that some lack are floats.
    """
    found: dict[str, list[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            found.setdefault(field.name, []).append(field.type)
    common: dict[str, pa.DataType] = {}
    for name, kinds in found.items():
        lacking = [np.dtype(float)] if pa.bool_() in kinds and len(kinds) < len(tables) else []
        if lacking or len(set(kinds)) > 1:
            types = [np.dtype(kind.to_pandas_dtype()) for kind in {*kinds}]
            common[name] = pa.from_numpy_dtype(np.result_type(*types, *lacking))
    if not common:
        return tables

    def cast(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        if name not in common or column.type == common[name]:
            return column
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())  # of which alone Arrow makes half precision
        return column.cast(common[name], safe=False)

    return [
        pa.table({name: cast(name, table[name]) for name in table.column_names}) for table in tables
    ]


def _run_row(path: Path, schema: pa.Schema) -> dict[str, Any]:
    name, configuration, summary = _metadata(schema)
    row = {"name": name, "digest": _digest(configuration)}
    row |= {"settings": settings_digest(configuration), "file": path.name}
    return row | configuration | summary | row


def _metadata(schema: pa.Schema) -> tuple[str, dict[str, Any], dict[str, Any]]:
    metadata = schema.metadata or {}
    if not {NAME, CONFIGURATION, SUMMARY} <= metadata.keys():
        raise ValueError("it is not a run of simbyz")
    configuration, summary = json.loads(metadata[CONFIGURATION]), json.loads(metadata[SUMMARY])
    if not (isinstance(configuration, dict) and isinstance(summary, dict)):
        raise ValueError("it is not a run of simbyz: its configuration or summary has no names")
    if "seed" not in configuration:
        raise ValueError("it is not a run of simbyz: its configuration has no seed")
    return metadata[NAME].decode(), from_json(configuration), from_json(summary)


def _warn_of(path: Path, error: Exception) -> None:
    # stacklevel: whoever called read_runs or read_steps.
    reason = getattr(error, "strerror", None) or error  # of the system's errors without the path
    warnings.warn(f"skipped {path}: {reason}", RuntimeWarning, stacklevel=3)


def _digest(configuration: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(configuration).encode()).hexdigest()[:10]
