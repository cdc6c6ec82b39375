"""The benchmark as pictures: rules against attacks, and the ranking."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from experiments.benchmark.answers.ranking import order
from experiments.defence_matrix.pictures import write_into
from experiments.shared.options.checks import as_name

# Light for good, dark for bad, told apart in grey and by the colour-blind.
COLORS = "cividis"


def figures(attacked: pd.DataFrame, table: pd.DataFrame, n: int) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure): the ranking, and a heatmap an f, heterogeneity and momentum, of
    `ranking.under_attack` and `ranking.worst_cases`.
    """
    yield "ranking", ranking(table, n)
    yield from heatmaps(attacked, table, n)


def heatmaps(attacked: pd.DataFrame, table: pd.DataFrame, n: int) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure): a heatmap an f, heterogeneity and momentum."""
    for (f, level, momentum), some in attacked.groupby(
        ["f", "heterogeneity", "momentum"], sort=False
    ):
        name = f"attacks-f_{f}-{level.replace(':', '_')}-momentum_{as_name(momentum)}"
        cell = (table["f"] == f) & (table["heterogeneity"] == level)
        ranked = table[cell & (table["momentum"] == momentum)]
        yield name, heatmap(some, ranked, f"f/n = {f / n:.2g}, {level}, momentum {momentum:g}")


def heatmap(attacked: pd.DataFrame, ranked: pd.DataFrame, title: str) -> Figure:
    """Test accuracy of each rule under each attack, the best worst case on top."""
    grid = attacked.pivot_table(
        index=["rule", "pre"], columns="attack", values="test_accuracy", sort=False
    )
    grid = grid.loc[list(zip(ranked["rule"], ranked["pre"], strict=True))]
    figure = Figure(
        figsize=(3.2 + 0.6 * grid.shape[1], 1.6 + 0.2 * len(grid)), layout="constrained"
    )
    axes = figure.subplots()
    axes.imshow(grid, cmap=COLORS, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(
        range(grid.shape[1]), [str(a).replace("_", " ") for a in grid], rotation=90, size=8
    )
    axes.set_yticks(range(len(grid)), [_name(*defence) for defence in grid.index], size=7)
    texts = grid.map(lambda accuracy: f"{100 * accuracy:.0f}").to_numpy()
    write_into(axes, texts, grid.to_numpy() > 0.55, 6)
    axes.set_title(f"test accuracy, %: {title}", size=9)
    return figure


def ranking(table: pd.DataFrame, n: int) -> Figure:
    """The worst accuracy of each rule, a panel per kind of data, a mark an f."""
    cells = list(dict.fromkeys(zip(table["f"], table["heterogeneity"], strict=True)))
    levels, fs = (list(dict.fromkeys(table[name])) for name in ("heterogeneity", "f"))
    defences = list(order(table, cells).index)[::-1]
    places = {defence: place for place, defence in enumerate(defences)}
    height = 1.2 + 0.17 * len(defences)
    figure = Figure(figsize=(3.0 + 2.6 * len(levels), height), layout="constrained")
    panels = figure.subplots(1, len(levels), sharey=True, squeeze=False)[0]
    for axes, level in zip(panels, levels, strict=True):
        for f, mark in zip(sorted(fs), "osD^vP*X<>hp" * 9, strict=False):
            some = table[(table["f"] == f) & (table["heterogeneity"] == level)]
            keys = zip(some["rule"], some["pre"], some["momentum"], strict=True)
            axes.errorbar(
                100 * some["test_accuracy"],
                [places[key] for key in keys],
                xerr=100 * some["deviation"].fillna(0),
                fmt=mark,
                markersize=4,
                linewidth=0.6,
                label=f"f/n = {f / n:.2g}",
            )
        axes.set_title(level, size=9)
        axes.set_ylim(-0.7, len(defences) - 0.3)
        axes.grid(axis="both", linewidth=0.3)
    several = table["momentum"].nunique() > 1
    names = [_name(rule, pre) + f", {momentum:g}" * several for rule, pre, momentum in defences]
    panels[0].set_yticks(range(len(defences)), names, size=7)
    figure.supxlabel("test accuracy under the worst attack, %", size=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(fs), fontsize=8)
    return figure


def _name(rule: str, pre: str) -> str:
    return rule.replace("_", " ") + ("" if pre == "none" else f", {pre}")
