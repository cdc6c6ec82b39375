"""The matrix as a table in a terminal."""

import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.defence_matrix.choose import best_defences
from experiments.shared.formats import Printer


def print_matrix(table: pd.DataFrame, title: str, console: Console | None = None) -> None:
    """A line a rule, pre-aggregator and heterogeneity, a column an f; then the best defence of
    each; within 100 columns.
    """
    console = Printer() if console is None else console
    fs = list(dict.fromkeys(table["f"]))
    shown = Table(
        title=title,
        caption="test accuracy, % ± deviation over seeds, under the worst attack, at the "
        "hyperparameters whose worst attack is best on the validation split. Attacks by initials: "
        + ", ".join(f"{initials(name)} {name}" for name in dict.fromkeys(table["worst_attack"]))
        + ("; ✕: some runs diverged" if table["diverged"].any() else ""),
    )
    for name in ("rule", "after", "data"):
        shown.add_column(name, no_wrap=True)
    for f in fs:
        shown.add_column(f"f = {f}", justify="right", no_wrap=len(fs) <= 3)
    for (rule, pre), group in table.groupby(["rule", "pre"], sort=False):
        _add(shown, group, [rule, "" if pre == "none" else pre], fs)
        shown.add_section()
    best = best_defences(table)
    _add(shown, best, ["the best", ""], fs, named=True)
    console.print(shown)


def _add(
    shown: Table, group: pd.DataFrame, names: list[str], fs: list[int], *, named: bool = False
) -> None:
    for level, row in group.groupby("heterogeneity", sort=False):
        by_f = {one["f"]: one for one in row.to_dict("records")}
        cells = [_cell(by_f[f], named) if f in by_f else "-" for f in fs]
        shown.add_row(*names, level, *cells)
        names = ["", ""]


def _cell(row: dict, named: bool) -> str:
    accuracy = f"{100 * row['test_accuracy']:.1f}" + "✕" * (row["diverged"] > 0)
    if named:
        return f"{accuracy} {short(row['rule'], row['pre'])}"
    spread = "" if pd.isna(row["deviation"]) else f" ± {100 * row['deviation']:.1f}"
    return f"{accuracy}{spread} {initials(row['worst_attack'])}"


def initials(name: str) -> str:
    return "".join(word[0] for word in name.split("_"))


def short(rule: str, pre: str) -> str:
    """A defence in a few letters: "nnm, tm"."""
    return initials(rule) if pre == "none" else f"{pre}, {initials(rule)}"
