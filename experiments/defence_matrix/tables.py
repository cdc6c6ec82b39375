"""The matrix as a table in a terminal."""

from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.defence_matrix.choose import best_defences
from experiments.shared.formats import add_words


def print_matrix(table: pd.DataFrame, title: str, console: Console) -> None:
    """A line a rule, pre-aggregator and heterogeneity, a column an f; then the best defence of
    each; within 100 columns.
    """
    fs = list(dict.fromkeys(table["f"]))
    attacks, rules = initials(table["worst_attack"]), initials(table["rule"])
    shown = Table(
        title=title,
        caption="test accuracy, % ± deviation over seeds, under the worst attack, at the "
        "hyperparameters whose worst attack is best on the validation split. "
        + legend(attacks, table)
        + f". The best on that split, by rules: {_listed(rules)}",
    )
    add_words(shown, "rule", "after", "data")
    for f in fs:
        shown.add_column(f"f = {f}", justify="right", no_wrap=len(fs) <= 3)
    for (rule, pre), group in table.groupby(["rule", "pre"], sort=False):
        _add(shown, group, [rule, "" if pre == "none" else pre], fs, attacks)
        shown.add_section()
    best = best_defences(table)
    _add(shown, best, ["the best", ""], fs, rules, named=True)
    console.print(shown)


def _add(
    shown: Table,
    group: pd.DataFrame,
    names: list[str],
    fs: list[int],
    briefly: Mapping[str, str],
    *,
    named: bool = False,
) -> None:
    for level, row in group.groupby("heterogeneity", sort=False):
        by_f = {one["f"]: one for one in row.to_dict("records")}
        cells = [_cell(by_f[f], briefly, named) if f in by_f else "-" for f in fs]
        shown.add_row(*names, level, *cells)
        names = ["", ""]


def _cell(row: dict, briefly: Mapping[str, str], named: bool) -> str:
    if named:  # "nnm, tm"
        before = "" if row["pre"] == "none" else f"{row['pre']}, "
        return f"{accuracy(row | {'deviation': None})} {before}{briefly[row['rule']]}"
    return f"{accuracy(row)} {briefly[row['worst_attack']]}"


def accuracy(row: dict) -> str:
    """Test accuracy in %, with a cross where runs diverged, and its deviation if it has one."""
    spread = "" if pd.isna(row["deviation"]) else f" ± {100 * row['deviation']:.1f}"
    return f"{100 * row['test_accuracy']:.1f}" + "✕" * (row["diverged"] > 0) + spread


def legend(attacks: Mapping[str, str], table: pd.DataFrame) -> str:
    """The end of a table's caption: what the initials of attacks stand for, and the cross."""
    crosses = "; ✕: some runs diverged" if table["diverged"].any() else ""
    return f"Attacks by initials: {_listed(attacks)}{crosses}"


def _listed(briefly: Mapping[str, str]) -> str:
    return ", ".join(f"{one} {name}" for name, one in briefly.items())


def initials(names: Iterable[str]) -> dict[str, str]:
    """Each name by the initials of its words; by two or three letters of each, or the whole name,
    where fewer stand for another of these names, too.
    """
    letters = dict.fromkeys(names, 1)
    while True:
        brief = {name: _shortened(name, some) for name, some in letters.items()}
        counts = Counter(brief.values())
        alike = [name for name, one in brief.items() if counts[one] > 1 and one != name]
        if not alike:
            return brief
        letters |= {name: letters[name] + 1 for name in alike}


def _shortened(name: str, letters: int) -> str:
    return name if letters > 3 else "".join(word[:letters] for word in name.split("_"))
