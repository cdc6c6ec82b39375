"""The whole grid at a glance: box plots of the highest accuracy, a heatmap of the gain, and the
reduction of the variance-norm ratio against the gain.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from experiments.defence_matrix.pictures import write_into
from experiments.distributed_momentum.analysis.pairs import pairs_of
from experiments.distributed_momentum.figures.comparison import DIVERGED, STYLES
from experiments.distributed_momentum.figures.panels import in_percent
from experiments.distributed_momentum.grid.rules import PAPER_RULES
from experiments.distributed_momentum.grid.settings import PAPER

ATTACKS = ("little", "empire")
# Okabe and Ito's, with a marker each, so that grey tells them apart too.
MARKERS = {
    "krum": ("#000000", "o"),
    "median": ("#E69F00", "s"),
    "trmean": ("#0072B2", "^"),
    "phocas": ("#009E73", "v"),
    "meamed": ("#CC79A7", "D"),
    "bulyan": ("#D55E00", "X"),
}


def figures(runs: pd.DataFrame) -> Iterator[tuple[str, str, Figure]]:
    """(name of the file, what it shows, figure) of all that these runs of the grid allow; they need
    no steps, only rows of the table of runs.
    """
    for name, figure in boxes(runs):
        yield name, f"Highest accuracies, {name.removeprefix('overview-')}", figure
    if len(pairs := pairs_of(runs)):
        yield "gain", "Gain of every configuration", heatmap(pairs)
        title = "Reduction of the variance-norm ratio against the gain"
        yield "ratio-and-gain", title, scatter(pairs)


def boxes(runs: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """One figure a data set: highest accuracies over seeds, a pair of boxes a rule (momentum at the
    update, at the workers), the median unattacked run as a line.
    """
    for dataset in PAPER:
        some = runs[runs["dataset"] == dataset]
        if (some["attack"] != "none").any():
            yield f"overview-{dataset}", _boxes(dataset, some)


def heatmap(pairs: pd.DataFrame) -> Figure:
    """The mean gain of every configuration of the grid, in percent points, with its number; a cross
    where one of its runs diverged.
    """
    run = [dataset for dataset in PAPER if (pairs["dataset"] == dataset).any()]
    rows = [
        (dataset, f, rule)
        for dataset, setting in PAPER.items()
        if dataset in run
        for f in setting.f
        for rule in PAPER_RULES
        if rule != "bulyan" or f == min(setting.f)
    ]
    columns = [
        (attack, number, nesterov)
        for attack in ATTACKS
        for number in (0, 1)
        for nesterov in (False, True)
    ]
    gains = pairs.groupby(["dataset", "f", "rule", "attack", "learning_rate", "nesterov"])
    lost = gains["diverged"].any().to_dict()
    gains = (100 * gains["gain"].mean()).to_dict()
    values = np.full((len(rows), len(columns)), np.nan)
    texts = np.full(values.shape, "·", object)
    for i, (dataset, f, rule) in enumerate(rows):
        rates = [rate for rate, _ in PAPER[dataset].learning_rates]
        for j, (attack, number, nesterov) in enumerate(columns):
            key = (dataset, f, rule, attack, rates[number], nesterov)
            if np.isfinite(gain := gains.get(key, np.nan)):
                values[i, j] = gain
                texts[i, j] = f"{round(gain):+d}" + DIVERGED * bool(lost[key])
    figure, axes = plt.subplots(figsize=(7.5, 1.5 + 0.2 * len(rows)), layout="constrained")
    most = max(np.nanmax(np.abs(values), initial=0), 1)
    axes.set_facecolor("0.85")
    # In the colour of the place that is ahead, as in curves.
    ends = [STYLES["update"][0], "#F6F6F4", STYLES["worker"][0]]
    shades = LinearSegmentedColormap.from_list("gain", ends, 21)
    picture = axes.imshow(values, cmap=shades, vmin=-most, vmax=most, aspect="auto")
    write_into(axes, texts, ~(np.abs(values) > 0.7 * most), 7)
    speeds = ("higher rate", "lower rate")
    axes.set_xticks(
        range(len(columns)),
        [f"{a}\n{speeds[k]}" + ("\nNesterov" if b else "") for a, k, b in columns],
        fontsize=7,
    )
    axes.set_yticks(range(len(rows)), [f"{d}, f = {f}, {rule}" for d, f, rule in rows], fontsize=7)
    for i in range(1, len(rows)):
        if rows[i][:2] != rows[i - 1][:2]:
            axes.axhline(i - 0.5, color="black", linewidth=0.8)
    figure.colorbar(picture, label="gain of highest accuracy, percent points", shrink=0.8)
    others = [dataset for dataset in PAPER if dataset not in run]
    notes = {
        "·: not run": np.isnan(values).any(),
        f"{DIVERGED}: a run diverged": any(lost.values()),
        f"nothing of {', '.join(others)} was run": others,
    }
    title = "momentum at the workers against at the update\n"
    axes.set_title(title + "; ".join(note for note, holds in notes.items() if holds), fontsize=9)
    return figure


def scatter(pairs: pd.DataFrame) -> Figure:
    """Factor by which the honest variance-norm ratio is lower at the workers, against the gain."""
    shown = pairs[np.isfinite(pairs["ratio_reduction"])]
    attacks = [attack for attack in ATTACKS if (shown["attack"] == attack).any()]
    figure, grid = plt.subplots(
        1,
        max(len(attacks), 1),
        figsize=(1 + 3.6 * max(len(attacks), 1), 4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, attack in zip(grid[0], attacks, strict=False):
        some = shown[shown["attack"] == attack]
        for rule, (color, marker) in MARKERS.items():
            of_rule = some[some["rule"] == rule]
            axes.scatter(
                np.exp(of_rule["ratio_reduction"]),
                100 * of_rule["gain"],
                color=color,
                marker=marker,
                s=16,
                alpha=0.6,
                linewidths=0,
                label=rule if len(of_rule) else None,
            )
        axes.axhline(0, color="black", linewidth=0.8)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("ratio at the update / ratio at the workers")
        axes.set_title(f"{attack}, {len(some)} pairs", fontsize=10)
        axes.grid(alpha=0.3)
    grid[0, 0].set_ylabel("gain of highest accuracy, percent points")
    handles = dict(
        pair[::-1]
        for axes in grid[0]
        for pair in zip(*axes.get_legend_handles_labels(), strict=True)
    )
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, fontsize=8)
    return figure


def _boxes(dataset: str, runs: pd.DataFrame) -> Figure:
    setting = PAPER[dataset]
    attacked = runs[runs["attack"] != "none"]
    # Of a part of the grid, no panels in which nothing was run.
    there = set(attacked[["attack", "f"]].itertuples(index=False, name=None))
    rows = [(attack, f) for attack in ATTACKS for f in setting.f if (attack, f) in there]
    there = set(attacked[["learning_rate", "nesterov"]].itertuples(index=False, name=None))
    rates = [rate for rate, _ in setting.learning_rates]
    columns = [(rate, on) for rate in rates for on in (False, True) if (rate, on) in there]
    rules = [rule for rule in PAPER_RULES if (attacked["rule"] == rule).any()]
    figure, grid = plt.subplots(
        len(rows),
        len(columns),
        figsize=(max(2.75 * len(columns), 6), 1 + 2 * len(rows)),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for (attack, f), line in zip(rows, grid, strict=True):
        for (rate, nesterov), axes in zip(columns, line, strict=True):
            here = runs[(runs["learning_rate"] == rate) & (runs["nesterov"] == nesterov)]
            some = here[(here["attack"] == attack) & (here["f"] == f)]
            if some.empty:
                axes.set_axis_off()
                continue
            plain = here[(here["attack"] == "none") & (here["n"] == setting.n - f)]
            if len(plain):
                middle = plain["highest_accuracy"].median()
                axes.axhline(middle, color=STYLES["unattacked"][0], linestyle=":", linewidth=1)
            for place, shift in (("update", -0.2), ("worker", 0.2)):
                _boxes_of_place(axes, some[some["momentum_at"] == place], rules, place, shift)
            axes.set_title(
                f"{attack}, f = {f}, rate {rate:g}" + ", Nesterov" * nesterov, fontsize=8
            )
            axes.grid(axis="y", alpha=0.3)
            axes.set_xticks(range(len(rules)), rules, rotation=60, fontsize=8)
            axes.set_xlim(-0.6, len(rules) - 0.4)
        here = runs[(runs["attack"] == attack) & (runs["f"] == f)]
        low = np.floor(10 * here["highest_accuracy"].min()) / 10  # a row's own, so that boxes show
        line[0].set_ylim(low if low < 1 else 0, 1)  # 0 where nothing is known, or all is 1
        in_percent(line[0])
    figure.supylabel("highest top-1 test accuracy")
    handles: list[Artist] = [
        Patch(facecolor=STYLES[place][0], label=f"momentum at {place}", hatch=hatch, alpha=0.7)
        for place, hatch in HATCHES.items()
    ]
    line = plt.Line2D([], [], color="black", linestyle=":", label="unattacked, median")
    if runs["diverged_step"].notna().any():
        cross = plt.Line2D([], [], color="black", marker="x", linestyle="", label="diverged run")
        handles.append(cross)
    figure.legend(handles=[*handles, line], loc="outside lower center", ncols=4, fontsize=8)
    figure.suptitle(dataset)
    return figure


HATCHES = {"update": "///", "worker": ""}


def _boxes_of_place(
    axes: Axes, runs: pd.DataFrame, rules: Sequence[str], place: str, shift: float
) -> None:
    for position, rule in enumerate(rules):
        some = runs[runs["rule"] == rule]
        values = some["highest_accuracy"].to_numpy()
        if not len(values):
            continue
        color = STYLES[place][0]
        lost = values[some["diverged_step"].notna()]
        at = np.full(len(lost), position + shift)
        axes.scatter(at, lost, marker="x", s=30, color="black", zorder=3, gid="diverged")
        axes.boxplot(
            values,
            positions=[position + shift],
            widths=0.35,
            patch_artist=True,
            boxprops={
                "facecolor": color,
                "edgecolor": color,
                "hatch": HATCHES[place],
                "alpha": 0.7,
            },
            whiskerprops={"color": color},
            capprops={"color": color},
            medianprops={"color": "black"},
            flierprops={"marker": ".", "markersize": 3, "markerfacecolor": color},
            manage_ticks=False,
        )
