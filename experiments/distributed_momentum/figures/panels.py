"""Common ground of the pictures of curves: panels, a mean with its band, crosses."""

import os
import textwrap
from collections.abc import Iterable
from typing import NamedTuple

import matplotlib

if "MPLBACKEND" not in os.environ:  # a notebook, or a user, may have chosen what shows pictures
    matplotlib.use("Agg")  # files only: no window, no display needed

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from experiments.shared.formats import PaperName

Key = tuple[str, int, str]  # attack, f, rule


class Paper(NamedTuple):
    """Where a picture is to stand: it is drawn at that width, for no letter to be scaled down."""

    width: float | None  # inches; None: as wide as its panels take
    beside: int | None  # panels beside each other at most
    letters: int  # points


# Two columns of a page and the space between them, as in the proceedings of conferences.
PAPERS: dict[PaperName, Paper] = {
    "screen": Paper(None, None, 9),
    "column": Paper(3.35, 2, 8),
    "page": Paper(7.0, 6, 8),
}


def panels(keys: Iterable[Key], paper: PaperName = "screen") -> tuple[Figure, dict[Key, Axes]]:
    """A panel for each key, a column a rule and a row an attack; another row for another f only
    where a rule has both. One behind the other where the paper is too narrow for that.
    """
    width, beside, letters = PAPERS[paper]
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
    places: list[list[Key | None]] = [[row.get(rule) for rule in columns] for row in rows]
    if beside is not None and len(columns) > beside:
        every: list[Key | None] = [key for line in places for key in line if key is not None]
        padded = [*every, *[None] * (-len(every) % beside)]
        places = [padded[start : start + beside] for start in range(0, len(padded), beside)]
    figure, grid = plt.subplots(
        len(places),
        len(places[0]),
        figsize=(
            width or 0.9 + 1.8 * max(2, len(columns)),
            max(2.4, 1 + 1.2 * len(places)) if width else max(3.4, 1.1 + 1.6 * len(places)),
        ),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    found: dict[Key, Axes] = {}
    for line, beside_it in zip(places, grid, strict=True):
        for key, axes in zip(line, beside_it, strict=True):
            if key is None:
                axes.set_axis_off()
                continue
            attack, f, rule = key
            found[key] = axes
            between = "\n" if width else ", "
            title = f"{rule}{between}{attack}, f = {f}" if attack != "none" else rule
            # Where it stands, and labels that there are none of, is said: each drawing would look.
            axes.set_title(title, fontsize=letters, y=1)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_label_coords(0, 0)
            axes.grid(alpha=0.3)
            axes.tick_params(labelsize=8)
    # Where a row starts or a column ends beside empty places, ticks are labelled too.
    for line in grid:
        next(axes for axes in line if axes.axison).tick_params(labelleft=True)
    for column in grid.T:
        [axes for axes in column if axes.axison][-1].tick_params(labelbottom=True)
    return figure, found


def surround(
    figure: Figure,
    grid: dict[Key, Axes],
    label: str,
    lines: dict[str, Artist],
    paper: PaperName,
    columns: int,
    title: str | None = None,
) -> None:
    """Legend of the lines by their names, in so many columns and under its title, labels of the
    axes, `label` the vertical one's, and as much room as they take, once all curves are drawn.

    matplotlib's own layouts measure each tick of each panel, twice, which takes as long as drawing
    them all; here the panels are alike, and one is measured.
    """
    letters = PAPERS[paper].letters
    figure.supxlabel("step", size=letters)
    figure.supylabel(label, size=letters, x=0.05 / figure.get_figwidth())
    legend = figure.legend(
        lines.values(),
        lines.keys(),
        loc="upper center",
        ncols=columns,
        fontsize=letters,
        columnspacing=1.0,
        handlelength=1.6,
        title=title,
        title_fontsize=letters,
    )
    axes = next(iter(grid.values()))  # at the left, ticks labelled
    line = 1.4 * letters / 72  # inches, as all lengths here
    above = (axes.get_title().count("\n") + 1.6) * line
    ticks = axes.yaxis.get_tightbbox()
    beside = 0.0 if ticks is None else (axes.bbox.x0 - ticks.x0) / figure.dpi
    width, height = figure.get_size_inches()
    left, right = beside + 2 * line, width - 0.1
    bottom, top = 2.6 * line, height - legend.get_window_extent().height / figure.dpi - above
    spec = axes.get_gridspec()
    assert spec is not None  # as of all panels of a grid
    rows, of_row = spec.get_geometry()
    between, wide = 0.15, (right - left - 0.15 * (of_row - 1)) / of_row
    under, tall = above + 0.08, (top - bottom - (above + 0.08) * (rows - 1)) / rows
    figure.subplots_adjust(
        left=left / width,
        right=right / width,
        bottom=bottom / height,
        top=top / height,
        wspace=between / wide,
        hspace=under / tall,
    )


def named(name: str, paper: PaperName) -> str:
    """The name of a picture's files."""
    return name if paper == "screen" else f"{name}-{paper}"


def in_percent(axes: Axes) -> None:
    """Labels of shares as percents."""
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def wrapped(text: str, figure: Figure, letters: float) -> str:
    """The text in lines that the figure is wide enough for."""
    return textwrap.fill(text, int(72 * figure.get_figwidth() / (0.6 * letters)))


def draw_band(
    axes: Axes, steps: pd.DataFrame, values: pd.Series, style: tuple, logarithmic: bool = False
) -> Line2D:
    """Mean and deviation over seeds by step, of the logarithm if so; what is not finite is left
    out.
    """
    numbers = (np.log(values.where(values > 0)) if logarithmic else values).to_numpy(float)
    there = np.isfinite(numbers)
    numbers, taken = numbers[there], steps["step"].to_numpy()[there]
    at, place, seeds = np.unique(taken, return_inverse=True, return_counts=True)
    mean = np.bincount(place, numbers) / seeds
    squares = np.bincount(place, (numbers - mean[place]) ** 2)
    deviation = np.sqrt(squares / np.maximum(seeds - 1, 1))
    low, high = mean - deviation, mean + deviation
    if logarithmic:
        mean, low, high = np.exp(mean), np.exp(low), np.exp(high)
    color, linestyle = style
    axes.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
    (line,) = axes.plot(at, mean, color=color, linestyle=linestyle, linewidth=1.2)
    return line


def draw_crosses(axes: Axes, steps: pd.DataFrame, color: str) -> None:
    """A cross near the lower edge at each step where a run of these stopped being finite."""
    if steps["diverged_step"].isna().all():  # no crosses take as long to draw as a curve
        return
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
