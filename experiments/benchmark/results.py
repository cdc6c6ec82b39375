"""Finished runs on disk: a Parquet file a rule, f and pre-aggregator, a row a run.

The runs are short and many: a file each would take as long to write as to compute. A file is
written whole or not at all, and again with more rows as runs finish.
"""

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from experiments.benchmark.runs import FIELDS, Run
from experiments.shared.mixing import kinds_of
from simbyz.records.checked_files import UNREADABLE, read_checked, write_checked
from simbyz.records.parquet import require_readable, set_aside

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

KEPT = Path(__file__).parent / "data" / "runs"  # a table a data set
# What a run gave, and what computed it.
OUTCOME = ("validation_accuracy", "test_accuracy", "training_loss", "diverged")
PROVENANCE = ("code_digest", "jax_version", "device_kind", "vmap_width")


class Results:
    """The runs in a folder, and those kept with the benchmark where they may stand in.

    Args:
      folder: of results.
      kept: also take what is kept of a data set, where the folder has it not.
      mend: name a damaged file in a warning and do without its runs, to compute them again.

    Raises:
      ValueError: a file is damaged.
      PermissionError: there is a file that one may not read, such as another user's.
    """

    def __init__(self, folder: Path, kept: str | None = None, *, mend: bool = False):
        self.folder, self._of, self._mend = folder, kept, mend
        self.runs = _read(sorted((folder / "runs").glob("*.parquet")), mend=mend)
        self.kept = _read([path] if kept and (path := KEPT / f"{kept}.parquet").exists() else [])

    def again(self) -> "Results":
        """As the folder has them now, with what other processes have written."""
        return Results(self.folder, self._of, mend=self._mend)

    def missing(self, runs: Sequence[Run]) -> list[Run]:
        there = _keys(self.runs) | _keys(self.kept)
        return [run for run in runs if _key(run) not in there]

    def add(self, rows: Sequence[dict]) -> None:
        """Rows of `FIELDS`, `OUTCOME`, `PROVENANCE` and `seconds`, onto the disk.

        A damaged earlier file is set aside under its name with `.damaged` behind.
        """
        new = pd.DataFrame(rows)
        for (rule, pre, f), some in new.groupby(["rule", "pre", "f"], sort=False):
            path = self.folder / "runs" / f"{_file_name(str(rule))}-{pre}-f_{f}.parquet"
            with _alone(self.folder):
                both = _joined([self._earlier(path), some])
                write_table(both.drop_duplicates(list(FIELDS), ignore_index=True), path)
        self.runs = _joined([self.runs, new])

    def _earlier(self, path: Path) -> pd.DataFrame:
        try:
            return _read([path] if path.exists() or path.is_symlink() else [])
        except ValueError:
            if not self._mend:
                raise
            set_aside(path, stacklevel=4)
            return _joined([])

    def of(self, runs: Sequence[Run]) -> pd.DataFrame:
        """The rows of these runs, in their order; `kept` says whose."""
        own, kept = self.runs.assign(kept=False), self.kept.assign(kept=True)
        both = _joined([own, kept])
        order = {_key(run): place for place, run in enumerate(runs)}
        places = [order.get(key, -1) for key in _rows(both)]
        both = both.assign(place=places)
        both = both[both["place"] >= 0].drop_duplicates("place")
        return both.sort_values("place", ignore_index=True).drop(columns="place")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Other processes that add to the same folder wait, so that none writes over another's rows."""
    if fcntl is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".runs.lock", "w") as lock:
        with contextlib.suppress(OSError):  # some network file systems know no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back, and so does the end of a process


def write_table(runs: pd.DataFrame, path: Path) -> None:
    """Raises OSError: it can't be written."""
    write_checked(path, pa.Table.from_pandas(runs, preserve_index=False), "table of runs")


def read_table(path: Path) -> pd.DataFrame:
    """Raises one of `UNREADABLE`: it is no such table, or damaged."""
    table = read_checked(path).read().to_pandas()
    if lacking := [name for name in FIELDS if name not in table]:
        raise ValueError(f"it is no table of the benchmark's runs: it has no {lacking[0]}")
    return table


def kept_tables() -> dict[str, pd.DataFrame]:
    """The tables that are kept by data set, the one that needs no download first."""
    names = sorted(
        (path.stem for path in KEPT.glob("*.parquet")),
        key=lambda name: (name != "digits", name != "mnist"),
    )
    return {name: read_table(KEPT / f"{name}.parquet") for name in names}


def kinds(runs: pd.DataFrame) -> list[str]:
    """The code of the runs, in words, if it is not all the same."""
    if runs.empty:
        return []
    found = kinds_of(runs.assign(file=runs["rule"] + ", f = " + runs["f"].astype(str)))
    return found if len(found) > 1 else []


def _read(paths: Sequence[Path], *, mend: bool = False) -> pd.DataFrame:
    tables = []
    for path in paths:
        require_readable(path, "table of runs")
        try:
            tables.append(read_table(path))
        except UNREADABLE as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            if not mend:
                raise ValueError(
                    f"{path} can't be read: {reason}; the benchmark's command computes its runs "
                    "again"
                ) from error
            warnings.warn(f"skipped {path}: {reason}", RuntimeWarning, stacklevel=4)
    return _joined(tables)


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of all; what is empty would make its numbers objects."""
    some = [table for table in tables if len(table)]
    columns = [*FIELDS, *OUTCOME, *PROVENANCE, "seconds", "kept"]
    return pd.concat(some, ignore_index=True) if some else pd.DataFrame(columns=columns)


def _file_name(rule: str) -> str:
    """A rule's name; of a user's own also a digest, as another module may have one of that name."""
    _, colon, name = rule.partition(":")
    return f"{name}-{hashlib.sha256(rule.encode()).hexdigest()[:6]}" if colon else rule


def _key(run: Run) -> tuple:
    return tuple(getattr(run, name) for name in FIELDS)


def _rows(runs: pd.DataFrame) -> list[tuple]:
    return list(runs[list(FIELDS)].itertuples(index=False, name=None))


def _keys(runs: pd.DataFrame) -> set[tuple]:
    return set(_rows(runs))
