"""Finished runs to a table and to pictures."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments.distributed_momentum.figures.panels import (
    PAPERS,
    draw_band,
    draw_crosses,
    in_percent,
    panels,
    surround,
)
from experiments.distributed_momentum.grid.cells import Cell, reference_of
from experiments.shared.formats import PaperName, add_numbers
from simbyz import records
from simbyz.records import divergence

# Okabe and Ito's colours, told apart by the colour-blind; line styles tell them apart in grey.
STYLES = {
    "unattacked": ("black", ":"),
    "update": ("#D55E00", "--"),
    "worker": ("#0072B2", "-"),
    "server": ("#009E73", "-."),
}
DIVERGED = "✕"  # in tables and pictures: a run that stopped being finite


def read(
    folder: str | Path, cells: Sequence[Cell], seeds: Sequence[int]
) -> tuple[pd.DataFrame, ...]:
    """One row a run, and one row a step, of the runs of these cells and seeds that the folder
    holds.
    """
    wanted = {
        records.run_path(folder, cell.name, cell.configuration(seed)).name
        for cell in cells
        for seed in seeds
    }
    runs = records.read_runs(folder)
    runs = runs[runs["file"].isin(wanted)]
    columns = ["step", "accuracy", "honest_deviation", "honest_norm", *divergence.COLUMNS]
    steps = records.read_steps(folder, files=runs["file"], columns=columns)
    return mark_diverged(runs, steps), mark_diverged(steps, steps)


def mark_diverged(table: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Runs or steps with the column `diverged_step`, NaN for those of runs that stayed finite."""
    found = divergence.diverged_steps(steps)
    return table.assign(diverged_step=table["digest"].astype(object).map(found))


def compare(runs: pd.DataFrame, cells: Sequence[Cell]) -> pd.DataFrame:
    """One row a comparison: unattacked, then attacked with momentum at each place; means over
    seeds.

    `gain` is the mean over seeds of the highest accuracy at the workers minus that at the update,
    of the same seed; `update_final` and the like are accuracies after the last step. A
    variance-norm ratio is the geometric mean over steps and seeds.
    `unattacked_diverged` and the like count the runs that diverged; their accuracies count too.
    """
    by_name = {name: group.set_index("seed") for name, group in runs.groupby("name", observed=True)}
    rows: dict[tuple, dict] = {}
    names = ("dataset", "f", "rule", "attack", "learning_rate", "nesterov")
    for cell in cells:
        found = by_name.get(cell.name)
        if cell.attack == "none" or found is None:
            continue
        key = tuple(getattr(cell, name) for name in names)
        row = rows.setdefault(key, dict(zip(names, key, strict=True)))
        reference = by_name.get(reference_of(cell).name)
        place = cell.momentum_at
        for name, some in (("unattacked", reference), (place, found)):
            if some is not None:
                row[name] = some["highest_accuracy"].mean()
                row[f"{name}_deviation"] = some["highest_accuracy"].std()
                row[f"{name}_final"] = some["final_accuracy"].mean()
                row[f"{name}_final_deviation"] = some["final_accuracy"].std()
                row[f"{name}_diverged"] = int(some["diverged_step"].notna().sum())
        row[f"{place}_ratio"] = np.exp(found["mean_log_honest_ratio"].mean())
        row.setdefault("by_seed", {})[place] = found["highest_accuracy"]
    for row in rows.values():
        by_seed = row.pop("by_seed")
        if {"update", "worker"} <= by_seed.keys():
            gains = by_seed["worker"] - by_seed["update"]
            row["gain"], row["gain_deviation"] = gains.mean(), gains.std()
    return pd.DataFrame(list(rows.values()))


def print_table(comparison: pd.DataFrame, title: str, console: Console) -> None:
    """The comparison, within 100 columns: a table a learning rate and Nesterov setting."""
    several = [name for name in ("learning_rate", "nesterov") if comparison[name].nunique() > 1]
    if not several:
        console.print(_table(comparison, title))
        return
    for key, part in comparison.groupby(several):
        named = ", ".join(
            f"Nesterov {'on' if k else 'off'}" if name == "nesterov" else f"learning rate {k}"
            for name, k in zip(several, key, strict=True)
        )
        console.print(_table(part, f"{title}, {named}"))


def _table(comparison: pd.DataFrame, title: str) -> Table:
    places = [place for place in ("update", "worker", "server") if place in comparison]
    gain = {"update", "worker"} <= set(places)
    caption = (
        "highest accuracy in %, below it after the last step, mean ± deviation over seeds; "
        + "gain: at worker over at update; " * gain
        + "ratio: how far honest vectors lie from their mean over its length, squared, geometric "
        "mean: the smaller, the less room for an attack"
    )
    lost = int(np.nansum(comparison.filter(like="_diverged").to_numpy(float)))
    caption += f"; 2{DIVERGED}: two runs diverged" if lost else ""
    # Three places take all of the width.
    box, padding = (SIMPLE_HEAD, 0) if len(places) > 2 else (HEAVY_HEAD, 1)
    table = Table(title=title, caption=caption, box=box, padding=(0, padding))
    for name in ("attack", "rule", "f"):
        table.add_column(name)
    columns = ("unattacked", *(f"at {place}" for place in places))
    add_numbers(table, *(f"{name}\nat the end" for name in columns), *["gain"] * gain)
    for place in places:
        table.add_column(f"ratio at {place}", justify="right")
    for row in comparison.sort_values(["attack", "rule"], kind="stable").to_dict("records"):
        cells = [row["attack"], row["rule"], str(row["f"])]
        cells += [_with_end(row, name) for name in ("unattacked", *places)]
        cells += [_percent(row, "gain", signed=True)] * gain
        cells += [f"{row.get(f'{place}_ratio', np.nan):.3g}" for place in places]
        table.add_row(*cells)
    return table


def source_of(steps: pd.DataFrame, cells: Sequence[Cell]) -> str:
    """A digest of all that the pictures are drawn from: the steps, the code and matplotlib's."""
    rows = pd.util.hash_pandas_object(steps, index=False).to_numpy().tobytes()
    code = [path.read_text() for path in sorted(Path(__file__).parent.glob("*.py"))]
    names = [cell.name for cell in cells]
    return hashlib.sha256(f"{names} {code} {matplotlib.__version__}".encode() + rows).hexdigest()


def plot_accuracy(
    steps: pd.DataFrame, cells: Sequence[Cell], paper: PaperName = "screen"
) -> Figure:
    """Accuracy by step: one panel a rule, attack and f; mean over seeds and a band of one
    deviation.
    """
    steps = steps.dropna(subset=["accuracy"])
    return _panels(steps, cells, "accuracy", "top-1 test accuracy", in_percent, paper)


def plot_ratio(steps: pd.DataFrame, cells: Sequence[Cell], paper: PaperName = "screen") -> Figure:
    """Honest variance-norm ratio by step, panels as in `plot_accuracy`; needs `has_ratio`."""
    label = "honest variance-norm ratio"
    return _panels(_with_ratio(steps), cells, "ratio", label, _by_decades, paper)


def _by_decades(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))  # all eight take longer than the curves


def has_ratio(steps: pd.DataFrame, cells: Sequence[Cell]) -> bool:
    """Whether there is a ratio to draw: of one honest worker alone there is none."""
    names = [cell.name for cell in cells]
    return bool(_with_ratio(steps)["name"].isin(names).any())


def _with_ratio(steps: pd.DataFrame) -> pd.DataFrame:
    with np.errstate(divide="ignore"):
        ratio = (steps["honest_deviation"] / steps["honest_norm"]) ** 2
    return steps.assign(ratio=ratio.where(np.isfinite(ratio))).dropna(subset=["ratio"])


def _panels(
    steps: pd.DataFrame,
    cells: Sequence[Cell],
    column: str,
    label: str,
    scaled: Callable[[Axes], None],
    paper: PaperName,
) -> Figure:
    by_name = dict(iter(steps.groupby("name", observed=True)))
    attacked = [cell for cell in cells if cell.attack != "none" and cell.name in by_name]
    shown = attacked or [cell for cell in cells if cell.name in by_name]
    figure, grid = panels(((cell.attack, cell.f, cell.rule) for cell in shown), paper)
    lines = {}
    for key, axes in grid.items():
        panel = [cell for cell in shown if (cell.attack, cell.f, cell.rule) == key]
        attacks = {str(cell.momentum_at): cell for cell in panel if cell.attack != "none"}
        curves = {"unattacked": reference_of(panel[0]) if attacks else panel[0]} | attacks
        for name, cell in curves.items():
            if cell.name in by_name:
                some = by_name[cell.name]
                logarithmic = column == "ratio"  # as its axis is
                lines[name] = draw_band(axes, some, some[column], STYLES[name], logarithmic)
                draw_crosses(axes, some, STYLES[name][0])
    scaled(figure.axes[0])  # an axis that all share
    names = {name: name if name == "unattacked" else f"momentum at {name}" for name in lines}
    seeds = steps["seed"].nunique()
    surround(
        figure,
        grid,
        label,
        {names[name]: line for name, line in lines.items()},
        paper,
        columns=int(figure.get_figwidth() / (0.2 * PAPERS[paper].letters)),
        title=f"mean of {seeds} seeds, band of one deviation" if seeds > 1 else "one seed",
    )
    return figure


def _with_end(row: dict, name: str) -> str:
    """The highest accuracy, below it the last, and how many runs diverged."""
    lost = row.get(f"{name}_diverged", 0)
    # Below, not behind: a table of many columns has no room to spare.
    lines = [_percent(row, name), _percent(row, f"{name}_final")]
    return "\n".join(lines + [f"{lost:.0f}{DIVERGED}"] * (lost > 0))


def _percent(row: dict, name: str, signed: bool = False) -> str:
    value, deviation = row.get(name, np.nan), row.get(f"{name}_deviation", np.nan)
    if np.isnan(value):
        return "-"
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text if np.isnan(deviation) else f"{text} ± {100 * deviation:.1f}"
