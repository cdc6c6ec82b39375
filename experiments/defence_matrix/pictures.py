"""The matrix as heatmaps: one picture a rule, and one of the best defence."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.defence_matrix.choose import best_defences

# Light for good, dark for bad, told apart in grey and by the colour-blind.
ACCURACY, LOSS = "cividis", "cividis_r"
NAMES = {"test_accuracy": "test accuracy, worst attack", "training_loss": "training loss"}


def figures(table: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure) of every rule, and of the best defence."""
    limit = loss_limit(table["training_loss"].to_numpy())
    for rule, group in table.groupby("rule", sort=False):
        pres = list(dict.fromkeys(group["pre"]))
        figure, axes = _panels(len(NAMES), len(pres), table)
        for row, column in zip(axes, NAMES, strict=True):
            for place, pre in zip(row, pres, strict=True):
                _heatmap(place, group[group["pre"] == pre], column, limit)
                place.set_title("alone" if pre == "none" else f"after {pre}", size=9)
            row[0].set_ylabel(NAMES[column], size=9)
        figure.suptitle(str(rule).replace("_", " "), size=11)
        if group["diverged"].any():
            figure.supxlabel("✕: some runs diverged", size=8)
        yield str(rule), figure
    best = best_defences(table)
    figure, axes = _panels(1, 1, table, wider=1.5)
    labels = {
        (row["heterogeneity"], row["f"]): str(row["rule"]).replace("_", " ")
        + ("" if row["pre"] == "none" else f"\nafter {row['pre']}")
        for row in best.to_dict("records")
    }
    _heatmap(axes[0][0], best, "test_accuracy", limit, labels)
    figure.suptitle("the best defence: test accuracy under its worst attack", size=9)
    yield "best_defence", figure


def _panels(rows: int, columns: int, table: pd.DataFrame, wider: float = 1.0):
    f, levels = table["f"].nunique(), table["heterogeneity"].nunique()
    width, height = 1.2 + wider * 0.75 * max(f, 2), 0.8 + 0.45 * wider * max(levels, 2)
    size = (max(3.4, width * columns + 0.6), height * rows + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _heatmap(
    axes: Axes,
    part: pd.DataFrame,
    column: str,
    limit: float,
    labels: dict[tuple[str, int], str] | None = None,
) -> None:
    grid = part.pivot_table(index="heterogeneity", columns="f", values=column, sort=False)
    values = grid.to_numpy()
    lost = part.pivot_table(index="heterogeneity", columns="f", values="diverged", sort=False)
    lost = lost.reindex(index=grid.index, columns=grid.columns).to_numpy()
    accuracy = column == "test_accuracy"
    axes.imshow(
        values if accuracy else np.minimum(values, limit),
        cmap=ACCURACY if accuracy else LOSS,
        vmin=0,
        vmax=1 if accuracy else limit,
        aspect="auto",
    )
    axes.set_xticks(range(grid.shape[1]), [f"f = {f}" for f in grid.columns], size=8)
    axes.set_yticks(range(grid.shape[0]), list(grid.index), size=8)
    texts = np.full(values.shape, "", object)
    for (row, place), value in np.ndenumerate(values):
        texts[row, place] = _number(float(value), accuracy) + "✕" * bool(lost[row, place] > 0)
        if labels is not None:
            texts[row, place] += "\n" + labels[grid.index[row], grid.columns[place]]
    light = values > 0.55 if accuracy else values < 0.45 * limit
    write_into(axes, texts, light, 8 if labels is None else 7)


def write_into(axes: Axes, texts: np.ndarray, light: np.ndarray, size: float) -> None:
    """A text into each field of a heatmap, black where the field is light."""
    for (row, place), text in np.ndenumerate(texts):
        color = "black" if light[row, place] else "white"
        axes.text(place, row, text, ha="center", va="center", size=size, color=color)


def _number(value: float, accuracy: bool) -> str:
    if np.isnan(value):
        return "-"
    if np.isinf(value):
        return "∞"
    if accuracy:
        return f"{100 * value:.0f}%"
    return f"{value:#.2g}" if value < 10 else f"{value:.0f}" if value < 1e4 else f"{value:.0e}"


def loss_limit(losses: np.ndarray) -> float:
    """The loss of the darkest colour: that of a guess among ten classes, whatever diverged."""
    most = np.max(losses, initial=0, where=np.isfinite(losses))
    return float(min(np.log(10), most)) if most > 0 else float(np.log(10))
