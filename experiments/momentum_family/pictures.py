"""Accuracy against steps, gradients and bits: three pictures a rule."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.momentum_family.tables import SETTING

# Okabe and Ito's colours, told apart by the colour-blind; the second seven are dashed.
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
AXES = {
    "steps": ("step", "steps"),
    "gradients": ("gradients", "gradients of examples a worker"),
    "bits": ("megabits", "millions of bits a worker"),
}


def curves(steps: pd.DataFrame, runs: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure): a row a participation and heterogeneity, a column an attack, a
    line an algorithm at its chosen rate, each a mean over seeds.
    """
    names = [*SETTING, "attack", "algorithm"]
    known = runs[[*names, "digest"]].astype({"digest": str})
    joined = steps.astype({"digest": str}).merge(known, on="digest").dropna(subset=["accuracy"])
    values = [column for column, _ in AXES.values()]
    means = joined.groupby([*names, "step"], sort=False)[["accuracy", *values[1:]]].mean()
    means = means.reset_index()
    styles = {name: _style(place) for place, name in enumerate(dict.fromkeys(runs["algorithm"]))}
    for rule, part in means.groupby("rule", sort=False):
        settings = list(dict.fromkeys(map(tuple, part[SETTING[1:]].to_numpy().tolist())))
        attacks = list(dict.fromkeys(part["attack"]))
        for name, (column, label) in AXES.items():
            size = (1.9 + 2.1 * len(attacks), 0.6 + 1.7 * len(settings))
            figure = Figure(figsize=size, layout="constrained")
            panels = figure.subplots(len(settings), len(attacks), sharey=True, squeeze=False)
            for line, (participation, level) in zip(panels, settings, strict=True):
                here = (part["participation"] == participation) & (part["heterogeneity"] == level)
                for axes, attack in zip(line, attacks, strict=True):
                    some = part[here & (part["attack"] == attack)]
                    for algorithm, style in styles.items():
                        one = some[some["algorithm"] == algorithm].sort_values(column)
                        if len(one):
                            axes.plot(one[column], one["accuracy"], linewidth=1, **style)
                    axes.set(ylim=(0, 1))
                    axes.tick_params(labelsize=7)
                    axes.grid(alpha=0.3)
                    if name == "bits":
                        axes.set_xscale("log")
                line[0].set_ylabel(f"{level}\n{100 * participation:g} % take part", size=8)
            for axes, attack in zip(panels[0], attacks, strict=True):
                axes.set_title(str(attack).replace("_", " "), size=9)
            figure.supxlabel(label, size=9)
            figure.supylabel("test accuracy", size=9)
            handles = [Line2D([], [], **style) for style in styles.values()]
            labels = [name.replace("_", " ") for name in styles]
            figure.legend(handles, labels, loc="outside right center", fontsize=8)
            yield f"{rule}-{name}", figure


def _style(place: int) -> dict[str, Any]:
    """Of the line of an algorithm, by its place among those that are drawn."""
    dashed = place >= len(COLORS)
    return {"color": COLORS[place % len(COLORS)], "linestyle": "--" if dashed else "-"}
