"""Pictures of the runs: the graph with its nodes, curves with the worst node, heatmaps."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from simbyz.gossip import Network
from simbyz.gossip.graphs import laplacian

# Light for good, dark for bad, told apart in grey and by the colour-blind.
COLORS = "cividis"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


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
        honest = 0.5 * vectors / np.abs(vectors).max(axis=0) + 0.5 * order
    drawn = np.zeros((network.n, 2))
    drawn[network.honest] = honest
    for number, liar in enumerate(network.byzantine):
        hearing = network.graph.arcs[network.graph.arcs[:, 0] == liar, 1]
        hearing = np.intersect1d(hearing, network.honest)
        turn = 2 * np.pi * number / max(len(network.byzantine), 1)
        own = drawn[hearing].mean(axis=0) if len(hearing) else np.zeros(2)
        drawn[liar] = own + 0.12 * np.array([np.cos(turn), np.sin(turn)])
    return drawn


def network_picture(network: Network, accuracies: list[float], title: str) -> Figure:
    """The network: honest nodes by their accuracy, Byzantine ones as crosses."""
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    at = places(network)
    lies = np.isin(network.graph.arcs, network.byzantine).any(axis=1)
    for some, color in ((~lies, "0.7"), (lies, "#D55E00")):
        lines = LineCollection(list(at[network.graph.arcs[some]]), colors=color, linewidths=0.5)
        lines.set_alpha(0.35 if color != "0.7" else 1)
        axes.add_collection(lines)
    shown = at[network.honest]
    style: dict[str, Any] = {"s": 90, "edgecolor": "black", "linewidth": 0.5}
    points = axes.scatter(
        shown[:, 0], shown[:, 1], c=accuracies, cmap=COLORS, vmin=0, vmax=1, zorder=3, **style
    )
    liars = at[list(network.byzantine)]
    axes.scatter(liars[:, 0], liars[:, 1], marker="X", color="#D55E00", zorder=4, **style)
    figure.colorbar(points, label="test accuracy of the node")
    axes.set_title(title, size=9)
    axes.set_axis_off()
    axes.set_aspect("equal")
    return figure


def curves(steps: pd.DataFrame, runs: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure) a graph, f and heterogeneity: accuracy by step, a panel an attack.

    A line is the nodes' mean, and a dotted one the worst node, each a mean over seeds.
    """
    names = ["graph", "f", "heterogeneity", "attack", "rule"]
    joined = steps.merge(runs[[*names, "digest"]].astype({"digest": str}), on="digest")
    joined = joined.dropna(subset=["accuracy"])
    for (graph, f, level), part in joined.groupby(names[:3], sort=False):
        attacks = list(dict.fromkeys(part["attack"]))
        figure = Figure(figsize=(1.2 + 2.6 * len(attacks), 2.9), layout="constrained")
        panels = figure.subplots(1, len(attacks), sharey=True, squeeze=False)[0]
        for axes, attack in zip(panels, attacks, strict=True):
            some = part[part["attack"] == attack]
            for (rule, lines), color in zip(
                some.groupby("rule", sort=False), LINES * len(some), strict=False
            ):
                means = lines.groupby("step")[["accuracy", "accuracy_worst"]].mean()
                axes.plot(means["accuracy"], color=color, label=str(rule).replace("_", " "))
                axes.plot(means["accuracy_worst"], color=color, linestyle=":", linewidth=1)
            axes.set(title=attack.replace("_", " "), xlabel="step", ylim=(0, 1))
            axes.title.set_size(9)
            axes.grid(alpha=0.3)
        panels[0].set_ylabel("test accuracy\n(dotted: worst node)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=8)
        figure.suptitle(f"{graph.replace('_', ' ')}, f = {f}, {level}", size=10)
        yield f"curves-{graph}-f_{f}-{level.replace(':', '_')}", figure


def heatmap(summary: pd.DataFrame) -> Figure:
    """Rules against graphs and f, a panel a heterogeneity: accuracy under the worst attack, and of
    the worst node.
    """
    levels = list(dict.fromkeys(summary["heterogeneity"]))
    cases = summary[["graph", "f"]].drop_duplicates().apply(tuple, axis=1).tolist()
    rules = list(dict.fromkeys(summary["rule"]))
    size = (1.8 + 0.8 * len(cases) * len(levels), 1.4 + 0.45 * len(rules))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(levels), squeeze=False)[0]
    for axes, level in zip(panels, levels, strict=True):
        some = summary[summary["heterogeneity"] == level].set_index(["rule", "graph", "f"])
        cells = [[(rule, *case) for case in cases] for rule in rules]
        values = np.array(
            [[some["test_accuracy"].get(cell, np.nan) for cell in row] for row in cells]
        )
        axes.imshow(values, cmap=COLORS, vmin=0, vmax=1, aspect="auto")
        for (row, place), value in np.ndenumerate(values):
            worst = some["worst_node"].get(cells[row][place], np.nan)
            text = "-" if np.isnan(value) else f"{100 * value:.0f}%\n({100 * worst:.0f})"
            color = "black" if value > 0.55 else "white"
            axes.text(place, row, text, ha="center", va="center", size=7, color=color)
        axes.set_yticks(range(len(rules)), [rule.replace("_", " ") for rule in rules], size=8)
        words = [f"{graph.replace('_', ' ')}\nf = {f}" for graph, f in cases]
        axes.set_xticks(range(len(cases)), words, size=7, rotation=30, ha="right")
        axes.set_title(str(level), size=9)
    figure.suptitle("test accuracy under the worst attack (of the worst node)", size=9)
    return figure
