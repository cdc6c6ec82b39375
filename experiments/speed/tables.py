"""Tables and pictures of timings."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from experiments.shared.formats import Printer

AGAINST = ("against_torch", "against_numpy")


def table(frame: pd.DataFrame) -> Iterator[Table]:
    """One table a size."""
    for (n, d, f), rows in frame.groupby(["n", "d", "f"], sort=False):
        one = Table(title=f"n = {n}, d = {d:,}, f = {f}: one core, float32, medians")
        against = [column for column in AGAINST if rows[column].notna().any()]
        one.add_column("what", overflow="fold")
        names = [name.removeprefix("against_") for name in against]
        for name in ("ms", "range", "passes", "beyond product", "compile s", *names):
            one.add_column(name, justify="right")
        for row in rows.to_dict("records"):
            compile_seconds = row["compile_seconds"]
            one.add_row(
                row["what"],
                f"{row['milliseconds']:.3g}",
                f"{row['least']:.3g} to {row['most']:.3g}",
                f"{row['passes']:.1f}",
                f"{row['beyond_product']:.1f}" if row["beyond_product"] > 0 else "",
                "" if np.isnan(compile_seconds) else f"{compile_seconds:.1f}",
                *("" if np.isnan(row[c]) else f"× {row[c]:.3g}" for c in against),
            )
        yield one


def plot(frame: pd.DataFrame) -> Figure:
    """Passes over the stack, a panel a size, logarithmic."""
    passes = frame["passes"] / frame["milliseconds"]
    ends = {end: frame[end] * passes for end in ("least", "most")}
    figure = bars(frame.assign(**ends), "passes", "time, in passes over the n × d stack")
    for axes in figure.axes:
        axes.set_xscale("log")
    return figure


def show(frame: pd.DataFrame, title: str) -> None:
    """Print a table as it is, one column a column, numbers to three digits."""
    one = Table(title=title)
    for name in frame.columns:
        justify: Literal["left", "right"] = "left" if name == "what" else "right"
        one.add_column(name.replace("_", " "), justify=justify, overflow="fold")
    for row in frame.itertuples(index=False):
        one.add_row(*map(_cell, row))
    Printer().print(one)


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if np.isnan(value):
        return ""
    return f"{value:,.3g}" if isinstance(value, float) and value < 1000 else f"{value:,.0f}"


def bars(frame: pd.DataFrame, column: str, label: str) -> Figure:
    """One column as bars, a panel a size where there are several; floors black, other libraries
    hatched, a line from the least to the most where these are known.
    """
    keys = [name for name in ("n", "d", "f") if name in frame.columns]
    panels = list(frame.groupby(keys, sort=False)) if keys else [((), frame)]
    most = max(len(rows) for _, rows in panels)
    figure = Figure(figsize=(1 + 4 * len(panels), 1 + 0.2 * most), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)
    for (size, rows), axes in zip(panels, grid[0], strict=True):
        peer = rows["what"].str.startswith(("byzfl", "numpy", "released"))
        floor = rows["what"].str.startswith("floor")
        colors = np.where(floor, "#000000", np.where(peer, "#E69F00", "#0072B2"))
        axes.barh(rows["what"], rows[column], color=colors, hatch=np.where(peer, "///", ""))
        if {"least", "most"} <= set(rows.columns):
            axes.hlines(rows["what"], rows["least"], rows["most"], color="0.6", linewidth=1.5)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_title(
            ", ".join(f"{name} = {value:,}" for name, value in zip(keys, size, strict=True)),
            fontsize=9,
        )
        axes.tick_params(labelsize=7)
        axes.grid(axis="x", alpha=0.3)
    figure.supxlabel(label, size=9)
    return figure
