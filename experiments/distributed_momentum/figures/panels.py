"""Common ground of the pictures of curves: panels, a mean with its band, crosses."""

import os
from collections.abc import Iterable

import matplotlib

if "MPLBACKEND" not in os.environ:  # a notebook, or a user, may have chosen what shows pictures
    matplotlib.use("Agg")  # files only: no window, no display needed

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Key = tuple[str, int, str]  # attack, f, rule


def panels(keys: Iterable[Key]) -> tuple[Figure, dict[Key, Axes]]:
    """A panel for each key, a column a rule and a row an attack; another row for another f only
    where a rule has both.
    """
    keys = list(dict.fromkeys(keys))
    columns = list(dict.fromkeys(rule for _, _, rule in keys))
    rows: list[dict[str, Key]] = []
    for attack, f in dict.fromkeys(key[:2] for key in keys):
        some = {key[2]: key for key in keys if key[:2] == (attack, f)}
        for row in rows:
            if row.keys().isdisjoint(some) and next(iter(row.values()))[0] == attack:
                row |= some
                break
        else:
            rows.append(some)
    figure, grid = plt.subplots(
        len(rows),
        len(columns),
        figsize=(0.9 + 1.8 * max(2, len(columns)), max(3.4, 1.1 + 1.6 * len(rows))),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    found: dict[Key, Axes] = {}
    for row, line in zip(rows, grid, strict=True):
        for rule, axes in zip(columns, line, strict=True):
            if rule not in row:
                axes.set_axis_off()
                continue
            attack, f, _ = row[rule]
            found[row[rule]] = axes
            axes.set_title(f"{rule}, {attack}, f = {f}" if attack != "none" else rule, fontsize=9)
            axes.grid(alpha=0.3)
            axes.tick_params(labelsize=8)
    # Where a row starts or a column ends beside empty places, ticks are labelled too.
    for line in grid:
        next(axes for axes in line if axes.axison).tick_params(labelleft=True)
    for column in grid.T:
        [axes for axes in column if axes.axison][-1].tick_params(labelbottom=True)
    figure.supxlabel("step", size=10)
    return figure, found


def draw_band(
    axes: Axes,
    steps: pd.DataFrame,
    values: pd.Series,
    style: tuple,
    logarithmic: bool = False,
) -> Line2D:
    """Mean and deviation over seeds by step, of the logarithm if so; what is not finite is left
    out.
    """
    values = np.log(values.where(values > 0)) if logarithmic else values
    table = pd.DataFrame({"step": steps["step"], "seed": steps["seed"], "value": values})
    table = table[np.isfinite(table["value"])]
    by_step = table.groupby("step")["value"]
    mean, deviation = by_step.mean(), by_step.std().fillna(0)
    low, high = mean - deviation, mean + deviation
    if logarithmic:
        mean, low, high = np.exp(mean), np.exp(low), np.exp(high)
    color, linestyle = style
    axes.fill_between(mean.index, low, high, color=color, alpha=0.2, linewidth=0)
    (line,) = axes.plot(mean.index, mean, color=color, linestyle=linestyle, linewidth=1.2)
    return line


def draw_crosses(axes: Axes, steps: pd.DataFrame, color: str) -> None:
    """A cross near the lower edge at each step where a run of these stopped being finite."""
    at = steps.groupby("digest", observed=True)["diverged_step"].first().dropna()
    axes.scatter(
        at,
        np.full(len(at), 0.03),
        marker="x",
        color=color,
        s=18,
        linewidths=1.2,
        transform=axes.get_xaxis_transform(),
        gid="diverged",
    )
