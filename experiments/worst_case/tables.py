"""The table and the picture of what the searches found."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments.shared.formats import add_numbers, add_words
from experiments.worst_case.rules import bound_of, published_of
from experiments.worst_case.search import REACH
from simbyz.theory.robustness import coefficient_floor

# A coefficient of this size is only reached by one that grows with the distance of Byzantine rows.
UNBOUNDED = REACH
# What float64 may add to a coefficient, relative to it.
ROUNDING = 1e-9


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a rule, n, f and d: floor, the worst `found` over seeds and restarts, the `start` it
    was climbed from, the least proved `bound` and the `published` one, NaN where there is none.
    """
    rows = []
    for (rule, n, f, d), some in runs.groupby(["rule", "n", "f", "d"], sort=False):
        worst = some.loc[some["coefficient"].idxmax()]
        rows.append(
            {
                "rule": rule,
                "n": n,
                "f": f,
                "d": d,
                "floor": coefficient_floor(n, f),
                "found": worst["coefficient"],
                "start": worst["start"],
                "bound": bound_of(rule, n, f),
                "published": published_of(rule, n, f),
                "file": worst["file"],
            }
        )
    summary = pd.DataFrame(rows)
    return summary.sort_values(["n", "f", "d"], kind="stable", ignore_index=True)


def contradictions(summary: pd.DataFrame) -> list[str]:
    """Contradictions: a configuration worse than a bound that is proved."""
    return [
        f"{row['rule']} at n = {row['n']}, f = {row['f']}, d = {row['d']} reaches "
        f"{row['found']:.6g}, above its proved bound {row['bound']:.6g}: see {row['file']}"
        for row in summary.to_dict("records")
        if _above(row)
    ]


def _above(row: dict) -> bool:
    return row["found"] > row["bound"] * (1 + ROUNDING)  # False where no bound is known


def print_table(summary: pd.DataFrame, console: Console) -> None:
    """The summary, within 100 columns."""
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        title="worst cases found",
        caption="(f, κ)-coefficients. floor: f/(n - 2f), any rule's; found: by the search, a lower "
        f"bound on the rule's; ∞: over {UNBOUNDED:g}, it grows with the Byzantine rows; bound: "
        "proved never to be passed, beside it the published one; start: what the worst was climbed "
        "from",
    )
    add_words(table, "rule")
    add_numbers(table, "n", "f", "d", "floor", "found", "× floor", "bound", "published")
    add_words(table, "start")
    for row in summary.to_dict("records"):
        endless = row["found"] > UNBOUNDED
        table.add_row(
            row["rule"],
            str(row["n"]),
            str(row["f"]),
            str(row["d"]),
            f"{row['floor']:.3f}",
            "∞" if endless else f"{row['found']:.3f}" + "!" * _above(row),
            "" if endless else f"{row['found'] / row['floor']:.2f}",
            "-" if np.isnan(row["bound"]) else f"{row['bound']:.3f}",
            "-" if np.isnan(row["published"]) else f"{row['published']:.1f}",
            row["start"],
        )
    console.print(table)


def plot(summary: pd.DataFrame) -> Figure:
    """From floor to bound, a line a rule and a panel each (n, f, d); the dot is what was found."""
    groups = list(summary.groupby(["n", "f", "d"], sort=False))
    rules = list(dict.fromkeys(summary["rule"]))
    size = (2.6 + 2.8 * len(groups), 1.4 + 0.28 * len(rules))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)
    for ((n, f, d), some), axes in zip(groups, panels.flat, strict=True):
        floor = some["floor"].iloc[0]
        axes.axvline(floor, color="black", linewidth=0.8, linestyle="--")
        for row in some.to_dict("records"):
            at = rules.index(row["rule"])
            if row["found"] > UNBOUNDED:
                axes.annotate(
                    "no bound →",
                    (1, at),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    va="center",
                    fontsize=8,
                )
                continue
            if not np.isnan(row["bound"]):
                axes.plot([row["found"], row["bound"]], [at, at], color="#999999", linewidth=1)
                axes.plot(row["bound"], at, marker="|", color="#D55E00", markersize=11)
            axes.plot(row["found"], at, marker="o", color="#0072B2", markersize=5)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", labelsize=8)
        axes.set(title=f"n = {n}, f = {f}, d = {d}")
        axes.title.set_size(9)
        axes.grid(alpha=0.3, axis="x")
        axes.set_yticks(range(len(rules)), [rule.replace("_", " ") for rule in rules], fontsize=8)
        axes.set_ylim(len(rules) - 0.5, -0.5)
    figure.supxlabel("coefficient κ", size=9)
    handles = [
        Line2D([], [], color="black", linewidth=0.8, linestyle="--"),
        Line2D([], [], color="#0072B2", marker="o", linestyle="", markersize=5),
        Line2D([], [], color="#D55E00", marker="|", linestyle="", markersize=11),
    ]
    labels = ["f / (n - 2f), of any rule", "found", "proved bound"]
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8)
    return figure
