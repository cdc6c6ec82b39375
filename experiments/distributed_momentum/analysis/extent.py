"""Which part of the grid a table of runs holds, and what is odd in it."""

import math
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.distributed_momentum.analysis.bootstrap import Mean, mean
from experiments.distributed_momentum.analysis.claims import condition, percent
from experiments.distributed_momentum.analysis.pairs import appendix, expected_runs
from experiments.distributed_momentum.grid.settings import PAPER

# Options of `grid`, and the columns that have their values.
OF_THE_RUNS = {"f": "f", "learning-rate": "learning_rate", "nesterov": "nesterov", "seeds": "seed"}


def in_grid(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the 736 configurations alone."""
    return runs[runs["in_paper"] & runs["dataset"].isin(list(PAPER)) & ~appendix(runs)]


def done_text(runs: pd.DataFrame) -> str:
    """Which part of the grid this is."""
    grid = in_grid(runs)
    seeds = sorted(grid["seed"].unique().tolist())
    counts = grid["dataset"].value_counts()
    parts = [f"{name} {counts.get(name, 0)} of {expected_runs(name)}" for name in PAPER]
    total = sum(expected_runs(name) for name in PAPER)
    others = len(runs) - len(grid)
    text = f"runs: {', '.join(parts)}; {len(grid)} of {total} of the grid, seeds {seeds}"
    return text + (f"; {others} beside it" if others else "")


def missing_lines(runs: pd.DataFrame, folder: Path | None = None) -> list[str]:
    """What attacked runs of the grid lack to be pairs, and the command that runs it, into the
    grid's own folder if None; nothing where all is there.
    """
    grid = in_grid(runs)
    setting = ["dataset", "nesterov", "learning_rate", "seed"]
    is_attacked = grid["attack"] != "none"
    attacked = grid[is_attacked].assign(honest=grid["n"] - grid["f"])
    unattacked = grid[~is_attacked].assign(honest=grid["n"])
    keys = [*setting, "honest"]
    lines = _lacking(attacked, unattacked, keys, {"attack": ["none"]}, "without an attack", folder)
    keys = [*setting, "attack", "rule", "conventions", "n", "f"]
    for place, other in (("update", "worker"), ("worker", "update")):
        here, there = (attacked[attacked["momentum_at"] == one] for one in (place, other))
        asked: dict[str, list[str] | str] = {
            "momentum-at": [other],
            "attack": "attack",
            "rule": "rule",
        }
        lines += _lacking(here, there, keys, asked, f"with momentum at the {other}", folder)
    return lines


def _lacking(
    runs: pd.DataFrame,
    partners: pd.DataFrame,
    keys: list[str],
    asked: Mapping[str, list[str] | str],
    what: str,
    folder: Path | None,
) -> list[str]:
    """A line a data set on the runs of which no partner has the same keys.

    asked: options of the command beside `OF_THE_RUNS`, and their values or the column of these.
    """
    there = set(partners[keys].itertuples(index=False, name=None))
    found = [key in there for key in runs[keys].itertuples(index=False, name=None)]
    alone = ~np.array(found, bool)
    lines = []
    for (dataset, conventions), some in runs[alone].groupby(["dataset", "conventions"], sort=False):
        words = ["python", "-m", "experiments.distributed_momentum", "grid", "--dataset", dataset]
        some = some.assign(nesterov=some["nesterov"].map({False: "off", True: "on"}))
        for option, column in {**asked, **OF_THE_RUNS}.items():
            chosen = sorted(some[column].unique()) if isinstance(column, str) else column
            words += [f"--{option}", *map(str, chosen)]
        if conventions != "released" and "rule" in asked:
            words += ["--conventions", conventions]
        if folder is not None:
            words += ["--results", str(folder)]
        lines.append(
            f"no run {what} for {len(some)} of {(runs['dataset'] == dataset).sum()} attacked runs "
            f"of {dataset}; they are run by\n    {shlex.join(words)}"
        )
    return lines


def condition_lines(runs: pd.DataFrame) -> list[str]:
    """How often the condition held, by rule and (n, f)."""
    known = in_grid(runs)
    known = known[known["bound"].notna() & (known["attack"] != "none")]
    lines = []
    for (rule, n, f), some in known.groupby(["rule", "n", "f"]):
        ever, steps = condition(some)
        bound = some["bound"].iloc[0]
        lines.append(
            f"condition of {rule}, n = {n}, f = {f}, deviation / norm < {bound:.3g}: at some step "
            f"of {percent(ever)} runs, at {steps.count} of {steps.total} steps"
        )
    return lines


def ratio_lines(pairs: pd.DataFrame) -> list[str]:
    """The change of the variance-norm ratio by momentum at the workers, by data set and rate."""
    lines = []
    for (dataset, rate, attack), some in pairs.groupby(["dataset", "learning_rate", "attack"]):
        within = _factor(mean(some["by_momentum"], some["seed"]))
        between = _factor(mean(-some["ratio_reduction"], some["seed"]))
        lines.append(
            f"ratio of what is sent with momentum at the workers, {dataset}, {attack}, rate "
            f"{rate:g}: {within} times that of the gradients in the same runs, {between} times "
            "that of the runs with momentum at the update"
        )
    return lines


def _factor(found: Mean) -> str:
    """2.3 (2.1 to 2.5), from the mean of logarithms."""
    value, low, high = (math.exp(x) for x in (found.value, found.low, found.high))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def diverged_lines(runs: pd.DataFrame) -> list[str]:
    """The runs that stopped being finite."""
    lost = runs[runs["diverged_step"].notna()].sort_values(["name", "seed"])
    lines = [
        f"diverged: {row['name']}, seed {row['seed']}, at step {row['diverged_step']:.0f}"
        for row in lost.to_dict("records")
    ]
    return lines or ["no run diverged (all losses and parameters finite)"]
