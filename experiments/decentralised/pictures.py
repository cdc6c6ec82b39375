"""Pictures of the runs: the graph with its nodes, curves with the worst node, accuracy by f, and a
heatmap over graphs.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.defence_matrix.pictures import write_into
from experiments.distributed_momentum.figures.panels import PAPERS
from experiments.shared.formats import PaperName
from simbyz.gossip import Network
from simbyz.gossip.graphs import laplacian

# Light for good, dark for bad, told apart in grey and by the colour-blind.
COLORS = "cividis"
LIES = "#D55E00"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^v<>"
SHOWN = 40  # nodes whose accuracies are written on them; of more they would not be read
NEAREST = 0.2  # two of them to each other


def places(network: Network) -> np.ndarray:
    """Where to draw the nodes, (n, 2): a circle if all hear all, else the two slowest eigenvectors
    of the honest graph, spread out; Byzantine ones amid those that hear them.
    """
    h = len(network.honest)
    angle = 2 * np.pi * np.arange(h) / h
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    honest = circle
    if len(network.honest_graph.arcs) < h * (h - 1):
        vectors = np.linalg.eigh(laplacian(network.honest_graph))[1][:, 1:3]
        order = np.argsort(np.argsort(vectors, axis=0), axis=0) / max(h - 1, 1) * 2 - 1
        honest = apart(0.5 * vectors / np.abs(vectors).max(axis=0) + 0.5 * order, NEAREST)
    drawn = np.zeros((network.n, 2))
    drawn[network.honest] = honest
    for number, liar in enumerate(network.byzantine):
        hearing = network.graph.arcs[network.graph.arcs[:, 0] == liar, 1]
        hearing = np.intersect1d(hearing, network.honest)
        turn = 2 * np.pi * number / max(len(network.byzantine), 1)
        own = drawn[hearing].mean(axis=0) if len(hearing) else np.zeros(2)
        drawn[liar] = own + 0.12 * np.array([np.cos(turn), np.sin(turn)])
    return drawn


def apart(points: np.ndarray, least: float) -> np.ndarray:
    """The points (n, 2), those nearer than that pushed from each other; of many, as they are."""
    if len(points) > SHOWN:
        return points
    for _ in range(100):
        ways = points[:, None] - points[None]
        lengths = np.linalg.norm(ways, axis=2) + np.eye(len(points))
        pushes = np.clip(least - lengths, 0, None) / lengths / 2
        points = points + np.einsum("ij,ijk->ik", pushes, ways)
    return points


def network_picture(
    network: Network, accuracies: Sequence[float], title: str, paper: PaperName = "screen"
) -> Figure:
    """The network: honest nodes with their accuracies, Byzantine ones as crosses."""
    letters = PAPERS[paper].letters
    side = min(PAPERS[paper].width or 5.0, 5.0)
    figure = Figure(figsize=(side, 0.86 * side), layout="constrained")
    axes = figure.subplots()
    at = places(network)
    lies = np.isin(network.graph.arcs, network.byzantine).any(axis=1)
    for some, color, shade in ((~lies, "0.8", 1.0), (lies, LIES, 0.3)):
        lines = LineCollection(list(at[network.graph.arcs[some]]), colors=color, linewidths=0.5)
        lines.set_alpha(shade)
        axes.add_collection(lines)
    written = len(network.honest) <= SHOWN
    style: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.5}
    size = (46 if written else 18) * side
    shown = at[network.honest]
    x, y = shown.T
    points = axes.scatter(
        x, y, s=size, c=accuracies, cmap=COLORS, vmin=0, vmax=1, zorder=3, **style
    )
    if written:
        for place, accuracy in zip(shown, accuracies, strict=True):
            color = "black" if accuracy > 0.55 else "white"
            text = "-" if np.isnan(accuracy) else f"{100 * accuracy:.0f}"
            axes.annotate(
                text, place, ha="center", va="center", size=letters - 2, color=color, zorder=4
            )
    x, y = at[list(network.byzantine)].T
    axes.scatter(x, y, s=14 * side, c=LIES, marker="X", zorder=5, label="Byzantine", **style)
    bar = figure.colorbar(points, format=PercentFormatter(1), shrink=0.8)
    bar.set_label("test accuracy of the node", size=letters)
    bar.ax.tick_params(labelsize=letters - 1)
    if network.byzantine:
        figure.legend(loc="outside lower center", fontsize=letters - 1)
    axes.set_title(title, size=letters)
    axes.set_axis_off()
    axes.set_aspect("equal")
    return figure


def curves(
    steps: pd.DataFrame, runs: pd.DataFrame, paper: PaperName = "screen"
) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure) a graph, f and heterogeneity: accuracy by step, a panel an attack.

    A line is the nodes' mean, and a dotted one the worst node, each a mean over seeds.
    """
    names = ["graph", "f", "heterogeneity", "attack", "rule"]
    joined = steps.merge(runs[[*names, "digest"]].astype({"digest": str}), on="digest")
    joined = joined.dropna(subset=["accuracy"])
    rules = list(dict.fromkeys(runs["rule"]))
    for (graph, f, level), part in joined.groupby(names[:3], sort=False):
        figure, _ = _by_attack(part, rules, "step", "accuracy", "accuracy_worst", paper)
        title = f"{graph.replace('_', ' ')}, f = {f}, {level}"
        _legend(figure, rules, title, paper)
        yield f"curves-{graph}-f_{f}-{level.replace(':', '_')}", figure


def by_attackers(
    runs: pd.DataFrame, bounds: dict[str, float], paper: PaperName = "screen"
) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure) a graph and heterogeneity with several f: accuracy after the last
    step by f, a panel an attack; lines as in `curves`.

    bounds: graph -> μ_2 of its honest nodes, drawn where 2 f is as much.
    """
    levels = ["graph", "heterogeneity"]
    rules = list(dict.fromkeys(runs["rule"]))
    for (graph, level), part in runs[runs["f"] > 0].groupby(levels, sort=False):
        if part["f"].nunique() < 2:
            continue
        figure, panels = _by_attack(part, rules, "f", "test_accuracy", "worst_accuracy", paper)
        for axes in panels:
            if bounds[graph] / 2 <= part["f"].max():
                axes.axvline(bounds[graph] / 2, color="0.4", linestyle="--", linewidth=0.8)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        title = f"{graph.replace('_', ' ')}, {level}; dashed: 2f = μ₂ = {bounds[graph]:.3g}"
        _legend(figure, rules, title, paper)
        yield f"by_attackers-{graph}-{level.replace(':', '_')}", figure


def heatmap(summary: pd.DataFrame, paper: PaperName = "screen") -> Figure:
    """Rules against graphs and f, a panel a heterogeneity: accuracy under the worst attack, and of
    the worst node.
    """
    width, _, letters = PAPERS[paper]
    levels = list(dict.fromkeys(summary["heterogeneity"]))
    graphs = list(dict.fromkeys(summary["graph"]))
    cases = sorted(
        set(zip(summary["graph"], summary["f"], strict=True)),
        key=lambda case: (graphs.index(case[0]), case[1]),
    )
    rules = list(dict.fromkeys(summary["rule"]))
    # On paper the panels stand below each other.
    across, down = (1, len(levels)) if width else (len(levels), 1)
    size = (width or 2.0 + 0.62 * len(cases) * across, 1.5 + (0.4 * len(rules) + 0.3) * down)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, level in zip(panels, levels, strict=True):
        some = summary[summary["heterogeneity"] == level].set_index(["rule", "graph", "f"])
        cells = [[(rule, *case) for case in cases] for rule in rules]
        values = np.array(
            [[some["test_accuracy"].get(cell, np.nan) for cell in row] for row in cells]
        )
        axes.imshow(values, cmap=COLORS, vmin=0, vmax=1, aspect="auto")
        texts = np.full(values.shape, "-", object)
        for (row, place), value in np.ndenumerate(values):
            if not np.isnan(value):
                found = some.loc[cells[row][place]]
                lost = "✕" * bool(found["diverged"])
                texts[row, place] = f"{100 * value:.0f}{lost}\n({100 * found['worst_node']:.0f})"
        write_into(axes, texts, ~(values <= 0.55), letters - 1.5)
        names = [rule.replace("_", " ") for rule in rules]
        axes.set_yticks(range(len(rules)), names, size=letters - 1)
        words = [f"{graph.replace('_', ' ')}, f = {f}" for graph, f in cases]
        axes.set_xticks(range(len(cases)), words, size=letters - 1, rotation=40, ha="right")
        axes.set_title(str(level), size=letters)
    title = "test accuracy, %, under the worst attack\n(and of the worst node)"
    title += "; ✕: some runs diverged" * bool(summary["diverged"].any())
    figure.suptitle(title, size=letters)
    return figure


def _by_attack(
    runs: pd.DataFrame, rules: Sequence[str], by: str, mean: str, worst: str, paper: PaperName
) -> tuple[Figure, list[Axes]]:
    """A panel an attack; by f, which few are of, with markers."""
    attacks = list(dict.fromkeys(runs["attack"]))
    figure, panels = _panels(len(attacks), paper)
    for axes, attack in zip(panels, attacks, strict=True):
        for rule, color, marker in _lines(rules):
            some = runs[(runs["attack"] == attack) & (runs["rule"] == rule)]
            means = some.groupby(by)[[mean, worst]].mean()
            axes.plot(means[mean], color=color, marker=marker if by == "f" else "", markersize=3.5)
            axes.plot(means[worst], color=color, linestyle=":", linewidth=1)
        _dress(axes, attack, by, paper)
    return figure, panels


def _panels(count: int, paper: PaperName) -> tuple[Figure, list[Axes]]:
    """So many panels that share their axes, below each other where the paper is too narrow."""
    width, beside, _ = PAPERS[paper]
    columns = min(count, beside or count)
    rows = -(-count // columns)
    size = (width or max(4.5, 0.5 + 2.3 * columns), 1.0 + (1.7 if width else 2.0) * rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, list(panels[:count])


def _lines(rules: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    for number, rule in enumerate(rules):
        yield rule, LINES[number % len(LINES)], MARKERS[number % len(MARKERS)]


def _dress(axes: Axes, attack: str, label: str, paper: PaperName) -> None:
    letters = PAPERS[paper].letters
    axes.set_title(attack.replace("_", " "), size=letters)
    axes.set(ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel(label, size=letters)
    axes.label_outer()
    axes.tick_params(labelsize=letters - 1)
    axes.grid(alpha=0.3)


def _legend(figure: Figure, rules: Sequence[str], title: str, paper: PaperName) -> None:
    letters = PAPERS[paper].letters
    handles = [
        Line2D([], [], color=color, label=rule.replace("_", " "))
        for rule, color, _ in _lines(rules)
    ]
    handles.append(Line2D([], [], color="0.3", linestyle=":", linewidth=1, label="worst node"))
    columns = max(2, int(figure.get_figwidth() / 1.6))
    figure.legend(handles=handles, loc="outside lower center", fontsize=letters - 1, ncols=columns)
    figure.suptitle(title, size=letters)
    figure.supylabel("test accuracy", size=letters)
