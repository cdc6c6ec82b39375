"""The certificates of finished runs as a table and as pictures: how far each aggregate was from the
honest mean, against what is published of its rule and what no rule can beat.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import HEAVY_HEAD
from rich.console import Console
from rich.table import Table

from experiments.defence_matrix.choose import CERTIFIED
from experiments.distributed_momentum.figures.comparison import STYLES
from experiments.distributed_momentum.figures.curves import save
from experiments.distributed_momentum.figures.panels import named, panels, surround
from experiments.shared.formats import PaperName, add_numbers, add_words
from experiments.shared.options.checks import as_name
from simbyz import records
from simbyz.theory.robustness import coefficient_floor

KIND = ["learning_rate", "nesterov", "unusual"]  # a table and a picture each
PANEL = ["attack", "f", "rule"]
CAPTION = (
    "κ realised: largest over steps and seeds; certified: steps with κ within the published bound; "
    "accepted: weight of Byzantine rows; distance: of the aggregate from the honest mean, by step"
)
BOUND, FLOOR = ("0.35", (0, (6, 2))), ("0.35", (0, (1, 1.5)))


def runs_in(folder: Path) -> pd.DataFrame:
    """The certified runs of a folder of results, rows of `records.read_runs`; maybe none."""
    runs = records.read_runs(folder)
    if "certify" not in runs:
        return runs[:0]
    return runs[runs["certify"].eq(True)]


def table_of(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each attack, rule, f and place of certified runs, over their seeds; NaN for what
    is not known.
    """
    attacked = _with_settings(runs[runs["attack"] != "none"])
    attacked = attacked.astype(dict.fromkeys(CERTIFIED, float))
    groups = attacked.groupby([*KIND, *PANEL, "momentum_at"], as_index=False, observed=True)
    rows = groups.agg({"n": "first", **CERTIFIED})
    floors = [floor_of(n, f) for n, f in zip(rows["n"], rows["f"], strict=True)]
    return rows.assign(floor=np.asarray(floors, float))


def floor_of(n: int, f: int) -> float:
    """The coefficient that no rule beats; NaN where no rule has one at all."""
    return coefficient_floor(int(n), int(f)) if n > 2 * f else np.nan


def print_tables(runs: pd.DataFrame, title: str, console: Console) -> None:
    """Within 100 columns: a table a learning rate, Nesterov and unusual settings."""
    for name, some in _kinds(table_of(runs)):
        table = Table(title=f"certificates, {title}, {name}", caption=CAPTION, box=HEAVY_HEAD)
        add_words(table, "rule", "f", "attack", "at")
        add_numbers(table, "κ realised", "bound", "floor", "certified", "accepted", "distance")
        for row in some.to_dict("records"):
            table.add_row(
                row["rule"],
                str(row["f"]),
                row["attack"],
                row["momentum_at"],
                *map(_number, (row["largest_coefficient"], row["coefficient_bound"], row["floor"])),
                *map(_percent, (row["certified_share"], row["mean_acceptance"])),
                _number(row["mean_distance"]),
            )
        console.print(table)


def plot(
    runs: pd.DataFrame, folder: Path, figures: Path, paper: PaperName = "screen"
) -> list[Path]:
    """κ by step, as PNG and PDF; a picture a data set and kind of certified runs in the folder."""
    if runs.empty or (attacked := runs[runs["attack"] != "none"]).empty:
        return []
    steps = records.read_steps(folder, files=attacked["file"], columns=["step", "coefficient"])
    files = []
    for dataset, own in attacked.groupby("dataset"):
        for name, some in _kinds(_with_settings(own)):
            figure = draw(some, steps[steps["digest"].isin(some["digest"])], paper)
            shown = name.replace("learning rate ", "lr_").replace(", Nesterov", "-nesterov")
            shown = shown.replace(", ", "-").replace(" ", "-")
            files += save(figure, figures, named(f"{dataset}-{shown}-certificates", paper))
    return files


def draw(runs: pd.DataFrame, steps: pd.DataFrame, paper: PaperName = "screen") -> Figure:
    """κ by step, a panel a rule, attack and f: the largest and, as a band, the smallest of the
    seeds.
    """
    keys = zip(runs["attack"], map(int, runs["f"]), runs["rule"], strict=True)
    figure, grid = panels(keys, paper)
    lines: dict[str, Artist] = {}
    for (attack, f, rule), axes in grid.items():
        panel = runs[(runs["attack"] == attack) & (runs["f"] == f) & (runs["rule"] == rule)]
        axes.set_yscale("log")
        for place, some in panel.groupby("momentum_at"):
            curve = steps[steps["digest"].isin(some["digest"])]
            lines[f"momentum at {place}"] = _curve(axes, curve, STYLES[str(place)])
        bound = panel["coefficient_bound"].astype(float).iloc[0]
        levels = {
            "published bound": (bound, BOUND),
            "floor of all rules": (floor_of(panel["n"].iloc[0], f), FLOOR),
        }
        for label, (level, (color, style)) in levels.items():
            if level > 0:
                lines[label] = axes.axhline(level, color=color, linestyle=style, linewidth=1)
    surround(figure, grid, "realised coefficient κ", lines, paper, columns=2)
    return figure


def _curve(axes: Axes, steps: pd.DataFrame, style: tuple) -> Artist:
    """Where a logarithm is defined; a gap elsewhere."""
    values = steps["coefficient"].where(np.isfinite(steps["coefficient"]))
    by_step = values.where(values > 0).groupby(steps["step"])
    low, high = by_step.min(), by_step.max()
    color, linestyle = style
    axes.fill_between(low.index, low, high, color=color, alpha=0.2, linewidth=0)
    (line,) = axes.plot(high.index, high, color=color, linestyle=linestyle, linewidth=1.2)
    return line


def _with_settings(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, with "" for unusual settings where a table has none."""
    unusual = runs["unusual"].fillna("") if "unusual" in runs else ""
    return runs.assign(unusual=unusual)


def _kinds(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The parts of one kind each, and its name: with the unusual settings where they differ."""
    differ = table["unusual"].nunique() > 1
    for (rate, nesterov, unusual), some in table.groupby(KIND):
        name = f"learning rate {as_name(rate)}" + ", Nesterov" * bool(nesterov)
        yield f"{name}, {unusual or 'the usual settings'}" if differ else name, some


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3g}"


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f} %"
