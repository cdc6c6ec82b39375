"""Results of an experiment that ends in one table, to what the page of such a table embeds.

A sheet says which columns are the keys of the heatmap, and which are its quantities.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.attack_strength.tables import summarise as strengths
from experiments.benchmark.answers.ranking import comparable, worst_cases
from experiments.benchmark.results import Results
from experiments.benchmark.runs import FIELDS
from experiments.decentralised.tables import summarise as decentralised
from experiments.defence_matrix.choose import SETTING, matrix
from experiments.shared.mixing import code_of, refuse_different_code
from simbyz import records
from simbyz.records.divergence import COLUMNS, diverged_steps


class Quantity(NamedTuple):
    """A column that may colour the heatmap.

    colors: whether high or low values are light. within: the ends of the colours; the largest of
    the same panel and heading across if None.
    """

    name: str
    label: str
    percent: bool = False
    deviation: str | None = None
    colors: str = "high"
    within: list[float] | None = None


class Sheet(NamedTuple):
    """The table of an experiment: how it is made of runs, and shown.

    Args:
      made_by: columns that its runs have and those of no other experiment.
      table: runs of one setting -> its rows.
      setting: columns of the runs in which those of one table agree.
      panel, down, across: keys of a row, in the setting's or the table's columns.
      columns: further columns of the table.
    """

    title: str
    lead: str
    made_by: frozenset[str]
    read: Callable[[Path], pd.DataFrame]
    table: Callable[[pd.DataFrame], pd.DataFrame]
    setting: tuple[str, ...]
    panel: tuple[str, ...]
    down: tuple[str, ...]
    across: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    columns: tuple[str, ...]


def _runs_and_divergence(folder: Path) -> pd.DataFrame:
    runs = records.read_runs(folder)
    steps = records.read_steps(folder, columns=COLUMNS)
    return runs.assign(diverged_step=runs["digest"].map(diverged_steps(steps)))


def _strengths(runs: pd.DataFrame) -> pd.DataFrame:
    parts = [
        pd.DataFrame(row["measured"]).assign(n=row["n"], f=row["f"], rule=row["rule"])
        for row in runs.to_dict("records")
    ]
    return strengths(pd.concat(parts, ignore_index=True))


def _told_apart(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of the benchmark of which no two are of one rule, attack and seed.

    A rule that was given several numbers of examples at the server is one a number. Of a rule or an
    attack of one's own that was changed, the runs count that were written last.
    """
    same = [name for name in FIELDS if name != "source"]
    runs = runs.drop_duplicates(same, keep="last", ignore_index=True)
    several = runs.groupby("rule")["root_examples"].transform("nunique") > 1
    named = runs["rule"] + ", " + runs["root_examples"].astype(str) + " root examples"
    return runs.assign(rule=runs["rule"].mask(several, named))


ACCURACY = Quantity("test_accuracy", "test accuracy, %", True, "deviation", within=[0, 1])
LOSS = Quantity(
    "training_loss", "training loss, worst attack", colors="low", within=[0, float(np.log(10))]
)
WORST = "Test accuracy, mean over seeds, under the attack that leaves least of it"
TRAINING = ("dataset", "steps", "batch_size", "hidden", "evaluations", "partition_seed")
DECENTRALISED = ("evaluate_every", "honest", "placement", "friends", "learning_rate", "momentum")
SHEETS = (
    Sheet(
        title="The defence matrix",
        lead=f"{WORST}, at the hyperparameters whose worst attack is best on the validation split.",
        made_by=frozenset({"pre", "heterogeneity", "honest", "validation_accuracy"}),
        read=_runs_and_divergence,
        table=matrix,
        # Certified runs stand beside the same ones without: together a seed would count twice.
        setting=(*TRAINING, "honest", "validation", "root_examples", "certify"),
        panel=("rule",),
        down=("pre", "heterogeneity"),
        across=("f",),
        quantities=(ACCURACY, LOSS),
        columns=("worst_attack", *SETTING, "seeds", "diverged"),
    ),
    Sheet(
        title="How far each attack moves each rule",
        lead="Strength: distance of the aggregate from the honest mean, in honest deviations, mean "
        "over steps; coloured by its share of the strongest on the same rule. Cosine: of the "
        "aggregate with the honest mean.",
        made_by=frozenset({"measured", "climbers"}),
        read=records.read_runs,
        table=_strengths,
        setting=("dataset", "send", "at_step", "iterations", "climbers", "seed"),
        panel=("n", "f"),
        down=("attack",),
        across=("rule",),
        quantities=(
            Quantity("strength", "strength", deviation="strength_deviation"),
            Quantity("cosine", "cosine", False, "cosine_deviation", "low", [-1, 1]),
        ),
        columns=("kind",),
    ),
    Sheet(
        title="Rules under their worst attack",
        lead=f"{WORST}, at the learning rate whose worst attack is best on the validation split. "
        "Of the attacks and seeds that all rows have.",
        made_by=frozenset({"pre", "heterogeneity", "n", "vmap_width"}),
        read=lambda folder: Results(folder).runs,
        table=lambda runs: worst_cases(comparable(_told_apart(runs))),
        setting=(*TRAINING, "n", "validation", "weight_decay"),
        panel=("momentum",),
        down=("rule", "pre"),
        across=("f", "heterogeneity"),
        quantities=(
            ACCURACY,
            Quantity("unattacked", "accuracy unattacked, %", True, within=[0, 1]),
        ),
        columns=("worst_attack", "learning_rate", "rank", "diverged"),
    ),
    Sheet(
        title="Without a server",
        lead="Test accuracy, mean over nodes and seeds, under the attack that leaves least of it.",
        made_by=frozenset({"graph", "placement"}),
        read=records.read_runs,
        table=decentralised,
        setting=(*TRAINING, *DECENTRALISED),
        panel=("graph",),
        down=("rule", "heterogeneity"),
        across=("f",),
        quantities=(
            ACCURACY,
            Quantity("worst_node", "accuracy of the worst node, %", True, within=[0, 1]),
            Quantity("consensus_distance", "distance to consensus", colors="low"),
        ),
        columns=("worst_attack", "seeds"),
    ),
)
# What columns are called, but for those that are called by their names.
WORDS = {"pre": "after", "heterogeneity": "data", "dataset": "data set", "kind": "kind of attack"}
VERSIONS = ("jax_version", "device_kind", "code")


def sheet_of(folder: Path) -> Sheet | None:
    """The sheet whose experiment left its runs in a folder; None if none of these did.

    Raises:
      FileNotFoundError: the folder is not there.
    """
    columns = _columns_in(folder)
    return next((sheet for sheet in SHEETS if sheet.made_by <= columns), None)


def common(folders: Sequence[Path]) -> Sheet | None:
    """The `sheet_of` all of these folders.

    Raises:
      FileNotFoundError: one is not there.
      ValueError: they are of several experiments.
    """
    found = [sheet_of(folder) for folder in folders]
    for folder, sheet in zip(folders, found, strict=True):
        if sheet is not found[0]:
            raise ValueError(
                f"{folders[0]} and {folder} don't hold runs of the same experiment: give those of "
                "one"
            )
    return found[0]


def _columns_in(folder: Path) -> set[str]:
    """The columns of the first of a folder's runs that can be read."""
    if (folder / "runs").is_dir():  # of which the benchmark alone keeps tables
        return set(Results(folder).runs.columns)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no results folder {folder}")
    with warnings.catch_warnings():  # who reads all of it tells of what is damaged
        warnings.simplefilter("ignore", RuntimeWarning)
        for path in sorted(folder.glob("*.parquet")):
            runs = records.read_runs(folder, files=[path.name])
            if len(runs):
                return set(runs.columns)
    return set()


def gather(sheet: Sheet, folders: Sequence[Path], *, allow_mixed: bool = False) -> dict:
    """Everything that the page shows, ready for JSON.

    Raises:
      ValueError: runs of different code, or of another experiment.
    """
    runs = pd.concat([sheet.read(folder) for folder in folders], ignore_index=True)
    runs = runs.dropna(subset=list(sheet.made_by - {"climbers"}))
    if not allow_mixed:
        refuse_different_code(runs.assign(file=runs.get("file", "the table")))
    # A run that lies in several folders is taken once.
    runs = runs.drop_duplicates("digest" if "digest" in runs else list(FIELDS), ignore_index=True)
    # A list of steps is no key, and runs from before a setting was there have none of it.
    runs = runs.reindex(columns=runs.columns.union(sheet.setting, sort=False))
    settings = {name: runs[name].map(_plain).fillna(0) for name in sheet.setting}
    parts, groups = [], list(runs.groupby(list(settings.values()), sort=False))
    differ = [name for name, values in settings.items() if values.nunique() > 1]
    for values, some in groups:
        setting = dict(zip(sheet.setting, values, strict=True))
        parts.append(sheet.table(some).assign(**{name: setting[name] for name in differ}))
    table = pd.concat(parts, ignore_index=True)
    if "pre" in table:
        table["pre"] = table["pre"].replace("none", "alone")
    # Files come in the order of their names, in which 10 is before 2.
    keys = (*sheet.panel, *sheet.down, *sheet.across)
    numbers = [name for name in keys if _is_number(table[name])]
    table = table.sort_values(numbers, kind="stable") if numbers else table
    panel = (*differ, *sheet.panel)
    given = [name for name in sheet.setting if name not in differ and runs[name].notna().any()]
    same = [f"{_words(name)} {settings[name].iloc[0]}" for name in given]
    return {
        "folders": [str(folder) for folder in folders],
        "versions": _versions(runs),
        "count": len(runs),
        "shown": f"{len(runs):,} runs; {', '.join(same)}.",
        "lead": sheet.lead,
        "note": "Mean ± deviation. A click on a heading sorts.",
        "file": "table",
        "panel": list(panel),
        "down": list(sheet.down),
        "across": list(sheet.across),
        "quantities": [quantity._asdict() for quantity in sheet.quantities],
        "columns": [*_columns(table, panel, sheet)],
        "rows": [
            {name: _json(value) for name, value in row.items()} for row in table.to_dict("records")
        ],
    }


def _columns(table: pd.DataFrame, panel: Sequence[str], sheet: Sheet) -> Iterator[dict]:
    def column(name: str) -> dict:
        return {"name": name, "label": _words(name), "number": _is_number(table[name])}

    yield from map(column, (*panel, *sheet.down, *sheet.across))
    yield from (quantity._asdict() | {"number": True} for quantity in sheet.quantities)
    yield from map(column, sheet.columns)


def _versions(runs: pd.DataFrame) -> list[str]:
    kinds = runs.assign(code=code_of(runs)).reindex(columns=list(VERSIONS))
    kinds = kinds.astype(object).where(kinds.notna(), "unknown")
    counted = kinds.groupby(list(VERSIONS), sort=False).size()
    return [
        f"{count} runs: jax {jax}, on {on}, {code}" for (jax, on, code), count in counted.items()
    ]


def _words(name: str) -> str:
    return WORDS.get(name, name.replace("_", " "))


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column)


def _plain(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple | np.ndarray) else value


def _json(value: Any) -> Any:
    """A value as JSON has it, where there is no NaN and no infinity."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else "infinite"
    return value
