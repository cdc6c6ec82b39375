"""ByzFL's three heatmaps, under its file names: test accuracy, training loss, the best rule.

Attackers to the right, the heterogeneity that the file names last on top, a number in each field.
"""

import textwrap
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.defence_matrix.pictures import ACCURACY, LOSS, loss_limit, write_into
from experiments.from_byzfl.reading import Benchmark


def figures(table: pd.DataFrame, benchmark: Benchmark) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure): of each rule and pre-aggregator, then the best rule of each."""
    names = names_of(benchmark)
    data = f"{benchmark.dataset}_{benchmark.network}"
    keys = ["scheme", "pre", "workers", "declared"]
    for (scheme, pre, workers, tolerated), group in counted(table, benchmark).groupby(
        keys, sort=False
    ):
        end = f"nb_honest_clients_{workers}_tolerated_f_{tolerated}"
        for rule, part in group.groupby("rule", sort=False):
            title = str(rule) if pre == "none" else f"{pre}, then {rule}"
            name = f"{data}_{scheme}_{names[pre]}_{names[rule]}_{end}"
            yield f"test_{name}", heatmap(part, "test_accuracy", f"{title}: test accuracy, %")
            yield f"train_loss_{name}", heatmap(part, "training_loss", f"{title}: training loss")
        best = group.loc[group.groupby(["heterogeneity", "f"])["test_accuracy"].idxmax()]
        title = "the best rule" if pre == "none" else f"{pre}, then the best rule"
        yield (
            f"best_test_{data}_{scheme}_{names[pre]}_{end}",
            heatmap(best, "test_accuracy", f"{title}: test accuracy, %", named=True, order=group),
        )


def counted(table: pd.DataFrame, benchmark: Benchmark) -> pd.DataFrame:
    """The table with workers and tolerated attackers as the file counts them."""
    workers = table["honest"] + (table["f"] if benchmark.honest_are_all else 0)
    tolerated = "equal_real" if benchmark.tolerated is None else table["tolerated"]
    return table.assign(workers=workers, declared=tolerated)


def names_of(benchmark: Benchmark) -> dict[str, str]:
    """ByzFL's name of each rule and of what stands before it, by our label."""
    names = {rule.label: _named(rule.name, rule.label) for rule in benchmark.rules}
    for pre in benchmark.pres:
        label = " + ".join(one.label for one in pre) or "none"
        names[label] = "_".join(_named(one.name, one.label) for one in pre)
    return names


def _named(name: str, label: str) -> str:
    _, colon, options = label.partition(":")
    return f"{name}_{options.replace('=', '_').replace(',', '_')}" if colon else name


def heatmap(
    part: pd.DataFrame,
    column: str,
    title: str,
    *,
    named: bool = False,
    order: pd.DataFrame | None = None,
) -> Figure:
    """One heatmap of a part of the table that has one row a field.

    named: the rule's name stands under the number.
    order: a part of the table that has levels and numbers of attackers in order; this one if None.
    """
    order = part if order is None else order
    levels = list(dict.fromkeys(order["heterogeneity"]))[::-1]
    attackers = list(dict.fromkeys(order["f"]))
    fields = {(row["heterogeneity"], row["f"]): row for row in part.to_dict("records")}
    values = np.array(
        [[fields[level, f][column] if (level, f) in fields else np.nan for f in attackers]
         for level in levels]
    )  # fmt: skip
    accuracy = column == "test_accuracy"
    most = 1.0 if accuracy else loss_limit(values)
    wide = 1.5 if named else 0.75
    size = (max(3.4, 1.8 + wide * len(attackers)), 1.3 + 0.55 * len(levels))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(
        np.minimum(values, most), cmap=ACCURACY if accuracy else LOSS, vmin=0, vmax=most,
        aspect="auto",
    )  # fmt: skip
    figure.colorbar(image, ax=axes, format=(lambda x, _: f"{100 * x:.0f}") if accuracy else None)
    axes.set_xticks(range(len(attackers)), attackers)
    axes.set_yticks(range(len(levels)), levels)
    axes.set(xlabel="Byzantine workers", ylabel="heterogeneity")
    # About 12 letters of 9 points to an inch.
    figure.suptitle(textwrap.fill(title, int(12 * size[0])), size=9)
    texts = np.full(values.shape, "", object)
    for (level, f), field in fields.items():
        text = (percent if accuracy else loss)(field[column]) + "✕" * bool(field["diverged"])
        text += f"\n{field['rule']}" * named
        texts[levels.index(level), attackers.index(f)] = text
    write_into(axes, texts, values > 0.55 if accuracy else values < 0.45 * most, 8)
    if part["diverged"].any():
        figure.supxlabel("✕: some runs diverged", size=8)
    return figure


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def loss(value: float) -> str:
    return "∞" if np.isinf(value) else f"{value:#.2g}" if value < 10 else f"{value:.0f}"
