"""Which part of the grid a table of runs holds, and what is odd in it."""

import math

import pandas as pd

from experiments.distributed_momentum.analysis.bootstrap import Mean, mean
from experiments.distributed_momentum.analysis.claims import condition, percent
from experiments.distributed_momentum.analysis.pairs import expected_runs
from experiments.distributed_momentum.grid.settings import PAPER


def in_grid(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the 736 configurations alone."""
    return runs[runs["in_paper"] & runs["dataset"].isin(list(PAPER)) & ~appendix(runs)]


def appendix(runs: pd.DataFrame) -> pd.Series:
    return runs["name"].str.contains("-lr_pow", regex=False)


def done_text(runs: pd.DataFrame) -> str:
    """Which part of the grid this is."""
    grid = in_grid(runs)
    seeds = sorted(grid["seed"].unique().tolist())
    parts = []
    for name in PAPER:
        some = grid[grid["dataset"] == name]
        parts.append(f"{name} {len(some)} of {expected_runs(name)}")
    total = sum(expected_runs(name) for name in PAPER)
    others = len(runs) - len(grid)
    text = f"runs: {', '.join(parts)}; {len(grid)} of {total} of the grid, seeds {seeds}"
    return text + (f"; {others} beside it" if others else "")


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
