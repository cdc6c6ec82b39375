"""The table and the picture of the runs."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from rich.console import Console
from rich.table import Table

from experiments.error_floor.simulate import ATTACKS
from experiments.shared.formats import add_numbers, add_words
from experiments.worst_case.rules import published_of
from simbyz.theory.robustness import coefficient_floor

# Okabe and Ito's colours, told apart by the colour-blind; the number of corners tells f.
COLORS = dict(zip(ATTACKS, ("#000000", "#0072B2", "#D55E00", "#009E73"), strict=True))
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a rule and f, at the largest ζ, where noise matters least; ratios are ||∇f||² / ζ².

    indistinguishable: mean over seeds (and deviation, NaN of a single one) in the case that the
    floor is proved with.
    worst: the largest mean over seeds of all data and attacks, and `where` it was.
    """
    runs = runs[runs["zeta"] == runs["zeta"].max()]
    runs = runs.assign(ratio=runs["squared_gradient_norm"] / runs["zeta"] ** 2)
    rows = []
    for (rule, n, f), group in runs.groupby(["rule", "n", "f"], sort=False):
        ratios = group.groupby(["data", "attack"])["ratio"]
        mean, deviation = ratios.mean(), ratios.std()
        worst = mean.idxmax()
        rows.append(
            {
                "rule": rule,
                "f": f,
                "floor": coefficient_floor(n, f),
                "indistinguishable": mean["minority", "majority"],
                "deviation": deviation["minority", "majority"],
                "worst": mean[worst],
                "where": "{}, {}".format(*worst),
                "bound": published_of(rule, n, f),
            }
        )
    return pd.DataFrame(rows)


def print_table(summary: pd.DataFrame, title: str, console: Console) -> None:
    """The summary, within 100 columns."""
    table = Table(
        title=title,
        caption="at the largest ζ of the runs, where noise matters least: final squared gradient "
        "norm over ζ², means over seeds. floor: f/(n - 2f); its "
        "case (± deviation): f honest workers hold other data, the Byzantine pass for the rest; "
        "worst: of all data and attacks; bound: the published κ of the rule",
    )
    add_words(table, "rule")
    add_numbers(table, "f", "floor", "its case", "worst")
    add_words(table, "data, attack")
    add_numbers(table, "bound")
    for row in summary.to_dict("records"):
        table.add_row(
            row["rule"],
            str(row["f"]),
            f"{row['floor']:.3f}",
            _its_case(row["indistinguishable"], row["deviation"]),
            f"{row['worst']:.3f}" if np.isfinite(row["worst"]) else "diverged",
            row["where"],
            "-" if np.isnan(row["bound"]) else f"{row['bound']:.1f}",
        )
    console.print(table)


def _its_case(mean: float, deviation: float) -> str:
    if not np.isfinite(mean):
        return "diverged"
    return f"{mean:.3f}" + ("" if np.isnan(deviation) else f" ± {deviation:.3f}")


def plot(runs: pd.DataFrame) -> Figure:
    """Measured against f / (n - 2f) ζ², a panel a rule; full: a minority differs, hollow: all do.

    Points are means over seeds, with a line from the least to the largest; on the black line, the
    error is the floor. What diverged has no point, and is counted.
    """
    rules = list(dict.fromkeys(runs["rule"]))
    markers = dict(zip(dict.fromkeys(runs["f"]), MARKERS * len(runs), strict=False))
    names = ["rule", "f", "zeta", "data", "attack"]
    by_case = runs.groupby(names, sort=False)
    means = by_case[["floor", "squared_gradient_norm"]].mean().reset_index()
    for end in ("min", "max"):
        means[end] = by_case["squared_gradient_norm"].agg(end).to_numpy()
    columns = min(3, len(rules))
    lines = -(-len(rules) // columns)
    size = (2.2 + 2.6 * columns, 1 + 2.4 * max(lines, 2))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(rules) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(0, len(rules) - columns) : len(rules)]:
        axes.tick_params(labelbottom=True)  # the lowest of its column, if not of the grid
    ends = np.array([means["floor"].min(), means["floor"].max()])
    for rule, axes in zip(rules, grid.flat, strict=False):
        axes.plot(ends, ends, color="black", linewidth=0.8)
        some = means[means["rule"] == rule]
        finite = np.isfinite(some["squared_gradient_norm"])
        if not finite.all():
            text = f"{np.sum(~finite)} of {len(some)} diverged"
            axes.text(0.97, 0.03, text, transform=axes.transAxes, ha="right", fontsize=7)
        some = some[finite]
        for (f, data, attack), points in some.groupby(["f", "data", "attack"], sort=False):
            color = COLORS[attack]
            axes.vlines(points["floor"], points["min"], points["max"], color=color, linewidth=0.6)
            axes.scatter(
                points["floor"],
                points["squared_gradient_norm"],
                marker=markers[f],
                s=22 if attack == "majority" else 12,
                edgecolor=color,
                facecolor=color if data == "minority" else "none",
                linewidth=0.7,
                zorder=3 if (data, attack) == ("minority", "majority") else 2,
            )
        axes.set(xscale="log", yscale="log", title=rule.replace("_", " "))
        axes.title.set_size(9)
        axes.grid(alpha=0.3)
    figure.supxlabel("floor f / (n - 2f) · ζ²", size=10)
    figure.supylabel("squared gradient norm at the end", size=10)
    handles: list[Artist] = [Line2D([], [], color="black", linewidth=0.8)]
    labels = ["the floor"]
    for attack, color in COLORS.items():
        handles.append(Patch(facecolor=color))
        labels.append(f"attack: {attack}")
    for f, marker in markers.items():
        handles.append(Line2D([], [], color="grey", marker=marker, linestyle="", markersize=5))
        labels.append(f"f = {f}")
    for data, fill in (("minority differs", "grey"), ("all differ", "none")):
        handles.append(Patch(facecolor=fill, edgecolor="grey"))
        labels.append(f"data: {data}")
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    return figure
