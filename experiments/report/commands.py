"""A run's cell from what its file says, and the command that gives the run again."""

import dataclasses
from collections.abc import Mapping

import pandas as pd

from experiments.distributed_momentum.grid.cells import ADDED, Cell, cells
from experiments.distributed_momentum.grid.settings import APPENDIX, SETTINGS

FIELDS = {field.name: field for field in dataclasses.fields(Cell)}


def cell_of(row: Mapping) -> Cell | None:
    """The cell of a row of `records.read_runs`; None if it is of another experiment."""
    # A run without a field, in a table with runs that have it, reads NaN there.
    values = {name: row[name] for name in FIELDS if name in row and not pd.isna(row[name])}
    if not FIELDS.keys() <= values.keys() | {"refresh", *ADDED}:
        return None
    for name, value in values.items():
        # Whole numbers beside NaN have become floats.
        if isinstance(value, float) and FIELDS[name].type is not float:
            values[name] = int(value)
    values["unusual"] = tuple(values["unusual"].split())
    if "drops" in values:
        drops = [drop.split(":") for drop in values["drops"].split()]
        values["drops"] = tuple((int(step), float(factor)) for step, factor in drops)
    return Cell(**{"refresh": None} | values)


def command_of(cell: Cell) -> str | None:
    """The command of a cell, all but its --seeds; None if the options can't say all its settings.

    Every setting is written out, so that the command stays what it is when a default moves.
    """
    own = APPENDIX if cell.depth else SETTINGS.get(cell.dataset)
    if own is None:
        return None
    # An unattacked run of the appendix is named by the attackers that it goes without.
    f = own.n - cell.n if cell.depth and cell.attack == "none" else cell.f
    # In the experiments' own order, in which what is unusual is named.
    names = ("depth", "width") if cell.depth else ("momentum",)
    changes = {name: getattr(cell, name) for name in (*names, "batch_size", "steps")}
    certify = {"certify": True} if cell.certify and not cell.depth else {}
    try:
        found = cells(
            cell.dataset,
            rules=[cell.rule],
            attacks=[cell.attack],
            places=[cell.momentum_at],
            nesterov=[cell.nesterov],
            learning_rates=[cell.learning_rate],
            n=own.n if cell.depth else cell.n,
            f=[f],
            conventions=cell.conventions,
            own=own,
            **changes,
            **certify,
        )
    except ValueError:
        return None
    if found != [cell]:
        return None
    options: dict[str, object] = {"attack": cell.attack}
    if cell.attack != "none":
        options |= {"rule": cell.rule, "momentum_at": cell.momentum_at}
        options |= {"conventions": cell.conventions}
    if not cell.depth:
        options = {"dataset": cell.dataset} | options
        options |= {"nesterov": "on" if cell.nesterov else "off", "n": cell.n}
        options |= {"learning_rate": cell.learning_rate}
    options |= {"f": f} | changes
    module = (
        "experiments.distributed_momentum appendix"
        if cell.depth
        else "experiments.distributed_momentum"
    )
    words = [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
    words += ["--certify"] * bool(certify)
    return " ".join(["python -m", module, *words])
