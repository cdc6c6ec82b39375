"""A run's cell from what its file says, and the command that gives the run again."""

import dataclasses
import shlex
from collections.abc import Mapping

import pandas as pd

from experiments.distributed_momentum.cells import SETTINGS, Cell, cells

FIELDS = tuple(field.name for field in dataclasses.fields(Cell))
# Options of the command line that a cell's fields answer, in the order in which they are given.
OPTIONS = ("n", "f", "learning_rate", "momentum", "batch_size", "steps")


def cell_of(row: Mapping) -> Cell | None:
    """The cell of a row of `records.read_runs`; None if it is of another experiment."""
    if any(name not in row for name in FIELDS):
        return None
    # A column of whole numbers and nothing is one of floats and NaN in a table of several runs.
    values = {name: None if pd.isna(row[name]) else row[name] for name in FIELDS}
    if any(value is None for name, value in values.items() if name != "refresh"):
        return None
    for name, value in values.items():
        if isinstance(value, float) and value.is_integer() and name not in _FLOATS:
            values[name] = int(value)
    return Cell(**values | {"unusual": tuple(values["unusual"].split())})


def command_of(cell: Cell) -> str | None:
    """The command of a cell, all but its --seeds; None if the options can't say all its settings.

    Every setting is written out, so that the command stays what it is when a default moves.
    """
    if cell.dataset not in SETTINGS:
        return None
    try:
        (found,) = cells(
            cell.dataset,
            rules=[cell.rule],
            attacks=[cell.attack],
            places=[cell.momentum_at],
            nesterov=[cell.nesterov],
            learning_rates=[cell.learning_rate],
            n=cell.n,
            f=[cell.f],
            **{name: getattr(cell, name) for name in ("momentum", "batch_size", "steps")},
        )
    except ValueError:
        return None
    if found != cell:
        return None
    words = ["python", "-m", "experiments.distributed_momentum", "--dataset", cell.dataset]
    if cell.attack == "none":
        words += ["--attack", "none"]
    else:
        words += ["--rule", cell.rule, "--attack", cell.attack, "--momentum-at", cell.momentum_at]
    words += ["--nesterov", "on" if cell.nesterov else "off"]
    for name in OPTIONS:
        words += [f"--{name.replace('_', '-')}", f"{getattr(cell, name)!r}"]
    return shlex.join(words)


_FLOATS = frozenset(
    field.name for field in dataclasses.fields(Cell) if field.type in (float, "float")
)
