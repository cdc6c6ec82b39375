"""A run's cell from what its file says, and the command that gives the run again.

A file may come from anywhere, and the page has its command copied into a shell: names are those
that the experiment knows, or the run is of no cell.
"""

import shlex
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from experiments.distributed_momentum.grid.cells import ADDED, AttackName, Cell, PlaceName, cells
from experiments.distributed_momentum.grid.rules import Conventions, RuleName
from experiments.distributed_momentum.grid.settings import APPENDIX, SETTINGS, Precision

FIELDS = get_type_hints(Cell)
TEXT = ("unusual", "drops")  # in a file
KNOWN = {
    "dataset": tuple(SETTINGS),
    "rule": get_args(RuleName),
    "attack": get_args(AttackName),
    "momentum_at": get_args(PlaceName),
    "conventions": get_args(Conventions),
    "precision": get_args(Precision),
}


def cell_of(row: Mapping) -> Cell | None:
    """The cell of a row of `records.read_runs`; None if it is of another experiment."""
    values = {name: _whole(name, row[name]) for name in FIELDS if _is_given(row.get(name))}
    if not FIELDS.keys() <= values.keys() | {"refresh", *ADDED}:
        return None
    if not all(_fits(name, value) for name, value in values.items()):
        return None
    values["unusual"] = tuple(values["unusual"].split())
    if "drops" in values:
        drops = [drop.partition(":") for drop in values["drops"].split()]
        try:
            values["drops"] = tuple((int(step), float(factor)) for step, _, factor in drops)
        except ValueError:
            return None
    return Cell(**{"refresh": None} | values)


def _is_given(value: Any) -> bool:
    """A run without a field, in a table with runs that have it, reads NaN there."""
    return value is not None and value == value


def _whole(name: str, value: Any) -> Any:
    """Whole numbers beside NaN have become floats."""
    is_whole = isinstance(value, float) and value.is_integer() and FIELDS[name] is not float
    return int(value) if is_whole else value


def _fits(name: str, value: Any) -> bool:
    if name in KNOWN:
        return value in KNOWN[name]
    kind = str if name in TEXT else int | float if FIELDS[name] is float else FIELDS[name]
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


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
    words = ["python", "-m", "experiments.distributed_momentum", *["appendix"] * bool(cell.depth)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--certify"] * bool(certify)
    return shlex.join(words)
