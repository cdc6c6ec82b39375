"""Curves over f̂, a line an f and a panel a rule, beside the floor."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.misjudged_f.problems import QUADRATIC

# Okabe and Ito's colours, told apart by the colour-blind.
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


def curves(summary: pd.DataFrame, problem: str) -> Figure:
    """Of a quadratic the worst error over ζ², dashed the floor, and crosses above where runs
    diverged; of images the accuracy under the worst attack.
    """
    part = summary[summary["problem"] == problem]
    quadratic = problem == QUADRATIC
    rules = list(dict.fromkeys(part["rule"]))
    figure = Figure(figsize=(1.4 + 2.4 * len(rules), 3.0), layout="constrained")
    panels = figure.subplots(1, len(rules), sharey=True, squeeze=False)[0]
    finite = part[["worst", "floor"]].to_numpy()
    finite = finite[np.isfinite(finite) & (finite > 0)]
    lowest = part["floor"][part["floor"] > 0].min() / 4  # without errors that are next to none
    # Above all that is finite, but for what is on its way to infinity.
    top = 10.0 * max(1.0, np.minimum(finite, 1e3).max(initial=1.0))
    for rule, axes in zip(rules, panels, strict=True):
        some = part[part["rule"] == rule]
        for (f, line), color in zip(
            some.groupby("f", sort=False), COLORS * len(some), strict=False
        ):
            _line(axes, line.sort_values("tolerated"), f, color, top if quadratic else None)
        axes.set(title=str(rule).replace("_", " "), xlabel="f̂ tolerated")
        axes.title.set_size(9)
        axes.set_xticks(sorted(set(part["tolerated"])))
        axes.grid(alpha=0.3)
    if quadratic:
        panels[0].set(yscale="log", ylim=(lowest if np.isfinite(lowest) else 1e-3, 2 * top))
        panels[0].set_ylabel("squared gradient norm / ζ²\n(✕: diverged; dashed: floor)", size=9)
    else:
        panels[0].set(ylim=(0, 1))
        panels[0].set_ylabel("test accuracy, worst attack\n(✕: some diverged)", size=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    return figure


def _line(axes: Axes, line: pd.DataFrame, f: object, color: str, top: float | None) -> None:
    f_hat, worst = line["tolerated"].to_numpy(), line["worst"].to_numpy()
    lost = line["diverged"].to_numpy() > 0 if top is None else ~(worst < top)
    shown = worst if top is None else np.where(lost, np.nan, worst)
    crosses = worst[lost] if top is None else np.full(lost.sum(), top)
    size = 8 if top is None else 6
    axes.plot(f_hat, shown, color=color, marker="o", markersize=3, label=f"f = {f}")
    axes.plot(f_hat[lost], crosses, color=color, marker="x", linestyle="", markersize=size)
    if top is None:
        return
    floor = line["floor"].to_numpy()
    floor = np.where(np.isfinite(floor) & (floor > 0), floor, np.nan)
    axes.plot(f_hat, floor, color=color, linestyle="--", linewidth=0.9)
