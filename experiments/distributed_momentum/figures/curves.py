"""Accuracy, loss and variance-norm ratio by step: one figure a combination, a column a rule."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from experiments.distributed_momentum.analysis.run_table import own_name
from experiments.distributed_momentum.figures.comparison import DIVERGED, STYLES, mark_diverged
from experiments.distributed_momentum.figures.panels import (
    PAPERS,
    draw_band,
    draw_crosses,
    in_percent,
    wrapped,
)
from experiments.distributed_momentum.grid.rules import PAPER_RULES
from experiments.shared.files import save_figure
from experiments.shared.formats import PaperName
from simbyz import records

STEP_COLUMNS = (
    "step",
    "accuracy",
    "loss",
    "honest_deviation",
    "honest_norm",
    "sampled_deviation",
    "sampled_norm",
    "distance_from_start",
)
# Unusual settings that an unattacked run is not named by: see `reference_of`.
OF_ATTACKED = re.compile(r"\b(published|total_\d+)\b ?")
COMBINATION = ["dataset", "attack", "n", "f", "learning_rate", "nesterov", "unusual"]
ROWS = ("top-1 test accuracy", "mean loss", "variance-norm ratio")
# In grey too: by line style, and the sampled ratio by its thinness.
SAMPLED = ("#56B4E9", (0, (1, 1)))


class Combination(NamedTuple):
    """The attacked runs of a figure, and the unattacked ones they are compared with."""

    name: str
    attacked: pd.DataFrame
    unattacked: pd.DataFrame


def combinations(runs: pd.DataFrame, paper: PaperName = "screen") -> Iterator[Combination]:
    """The figures that the runs allow, in order: in a column of a page, one a rule."""
    attacked = runs[runs["attack"] != "none"]
    plain = runs[runs["attack"] == "none"]
    for key, some in attacked.groupby(COMBINATION):
        values = dict(zip(COMBINATION, key, strict=True))
        beside = plain[
            (plain["dataset"] == values["dataset"])
            & (plain["n"] == values["n"] - values["f"])
            & (plain["learning_rate"] == values["learning_rate"])
            & (plain["nesterov"] == values["nesterov"])
            & (plain["unusual"] == OF_ATTACKED.sub("", values["unusual"]).strip())
        ]
        name = some["name"].iloc[0].replace(f"-{some['rule'].iloc[0]}-", "-")
        name = name.replace("-at_update", "").replace("-at_worker", "").replace("-at_server", "")
        if paper != "column":
            yield Combination(name, some, beside)
            continue
        for rule, own in some.groupby("rule"):
            yield Combination(f"{name}-{rule}", own, beside)


def read_steps(runs: pd.DataFrame) -> pd.DataFrame:
    """The steps of runs, with the step at which each diverged."""
    parts = []
    for folder, some in runs.groupby("folder"):
        files = _files(Path(folder), list(some["file"]))
        parts.append(records.read_steps(folder, files=files, columns=STEP_COLUMNS))
    steps = pd.concat(parts)
    return mark_diverged(steps, steps)


def _files(folder: Path, names: list[str]) -> list[str]:
    """The files of runs in a folder, by the names that they were given; some may be renamed."""
    if all((folder / name).exists() for name in names):
        return names
    found = {own_name(run): run["file"] for run in records.read_runs(folder).to_dict("records")}
    return [found.get(name, name) for name in names]


def draw(combination: Combination, paper: PaperName = "screen") -> Figure:
    """Mean over seeds and a band of one deviation; ratios and losses on a logarithmic axis, their
    means and deviations taken in logarithm.
    """
    attacked = combination.attacked
    rules = sorted(set(attacked["rule"]), key=_order)
    width, _, letters = PAPERS[paper]
    figure, grid = plt.subplots(
        len(ROWS),
        len(rules),
        figsize=(width or 1 + 2.2 * len(rules), 6.2),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    unattacked = read_steps(combination.unattacked) if len(combination.unattacked) else None
    lines: dict[str, Artist] = {}
    for column, rule in zip(grid.T, rules, strict=True):
        some = attacked[attacked["rule"] == rule]
        curves = {} if unattacked is None else {"unattacked": unattacked}
        for place in ("update", "worker", "server"):
            at_place = some[some["momentum_at"] == place]
            if len(at_place):
                curves[place] = read_steps(at_place)
        _column(column, curves, lines)
        bound = some["bound"].iloc[0]
        if bound == bound:
            lines["the rule's bound"] = column[2].axhline(bound**2, color="0.4", linewidth=0.8)
        between = "\n" if paper == "page" else ", "
        column[0].set_title(f"{rule}{between}f = {some['f'].iloc[0]}", fontsize=letters)
        column[2].set_xlabel("step", size=letters)
    for axes, label in zip(grid[:, 0], ROWS, strict=True):
        axes.set_ylabel(label, size=letters)
    seeds = attacked.groupby("name")["seed"].nunique()
    number = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    lost = pd.concat([attacked, combination.unattacked])["diverged_step"].notna().sum()
    averaged = f"mean ± deviation, {number} seeds" if seeds.max() > 1 else "one seed"
    what = averaged + (f", {DIVERGED}: {lost} diverged" if lost else "")
    figure.suptitle(wrapped(f"{combination.name} ({what})", figure, letters), fontsize=letters)
    figure.legend(
        lines.values(),
        lines.keys(),
        loc="outside lower center",
        ncols=max(1, min(3, int(figure.get_figwidth() / (0.29 * letters)))),
        fontsize=8,
    )
    return figure


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """As PNG and as PDF, without its date, so that equal figures are equal files."""
    files = [folder / f"{name}.png", folder / f"{name}.pdf"]
    save_figure(figure, files[0], dpi=130)
    save_figure(figure, files[1], metadata={"CreationDate": None})
    plt.close(figure)
    return files


def _order(rule: str) -> tuple[int, str]:
    return (PAPER_RULES.index(rule) if rule in PAPER_RULES else len(PAPER_RULES), rule)


def _column(column: np.ndarray, curves: Mapping[str, pd.DataFrame], lines: dict) -> None:
    accuracy, loss, ratio = column
    for name, steps in curves.items():
        label = name if name == "unattacked" else f"momentum at {name}"
        lines[label] = draw_band(accuracy, steps, steps["accuracy"], STYLES[name])
        draw_band(loss, steps, steps["loss"], STYLES[name], logarithmic=True)
        honest = (steps["honest_deviation"] / steps["honest_norm"]) ** 2
        draw_band(ratio, steps, honest, STYLES[name], logarithmic=True)
        if name == "worker":
            sampled = (steps["sampled_deviation"] / steps["sampled_norm"]) ** 2
            lines["sampled gradients, momentum at worker"] = draw_band(
                ratio, steps, sampled, SAMPLED, logarithmic=True
            )
    for axes in (accuracy, loss):
        for name, steps in curves.items():
            draw_crosses(axes, steps, STYLES[name][0])
    for axes in column:
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7)
    accuracy.set_ylim(0, 1)
    in_percent(accuracy)
    loss.set_yscale("log")
    ratio.set_yscale("log")
