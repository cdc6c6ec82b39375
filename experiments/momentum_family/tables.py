"""From runs to tables: what each run took, the rate of each algorithm, paired differences to a
baseline, the algorithm that the others are compared with.
"""

import math

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.benchmark.answers import ranking
from experiments.distributed_momentum.analysis import bootstrap
from experiments.momentum_family.algorithms import refusal
from experiments.shared.formats import add_numbers, add_words

SETTING = ["rule", "participation", "heterogeneity"]
CELL = [*SETTING, "algorithm", "attack"]
# Of the table of runs that is kept.
COSTS = ["gradients", "megabits", "gradients_to", "megabits_to"]
RESULTS = ["test_accuracy", "validation_accuracy", "diverged", *COSTS]
KEPT = [*CELL, "learning_rate", "seed", *RESULTS]


def with_costs(runs: pd.DataFrame, steps: pd.DataFrame, target: float) -> pd.DataFrame:
    """The runs with the gradients and megabits that a worker spent in all, and until an evaluation
    had the target accuracy (infinite where none had); of the runs' own steps.
    """
    steps = steps.astype({"digest": str}).set_index("digest")[["accuracy", "gradients", "megabits"]]
    spent = steps.drop(columns="accuracy")
    reached = spent[steps["accuracy"] >= target].groupby("digest").head(1).add_suffix("_to")
    costs = spent.groupby("digest").tail(1).join(reached)
    costs = costs.fillna({name: math.inf for name in reached})
    return runs.reset_index(drop=True).join(costs, on="digest")


def chosen(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs at each algorithm's own learning rate, see `ranking.chosen`."""
    return ranking.chosen(runs, [*SETTING, "algorithm"])


def difference(runs: pd.DataFrame, algorithm: str, baseline: str) -> bootstrap.Mean:
    """The mean over these runs' cases of accuracy(algorithm) - accuracy(baseline), each pair of one
    case and seed, with the interval of a bootstrap over seeds.
    """
    names = [*SETTING, "attack", "seed"]
    one, other = (
        runs[runs["algorithm"] == name].set_index(names)["test_accuracy"]
        for name in (algorithm, baseline)
    )
    pairs = (one - other).dropna().reset_index()
    return bootstrap.mean(pairs["test_accuracy"], pairs["seed"])


def summarise(runs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """One row a rule, participation, heterogeneity, algorithm and attack, of runs at the rates
    `chosen`.
    """
    rows = []
    for setting, case in runs.groupby([*SETTING, "attack"], sort=False):
        for algorithm, group in case.groupby("algorithm", sort=False):
            found = difference(case, str(algorithm), baseline)
            rows.append(
                dict(zip([*SETTING, "attack"], setting, strict=True))
                | {
                    "algorithm": algorithm,
                    "learning_rate": group["learning_rate"].iloc[0],
                    "test_accuracy": group["test_accuracy"].mean(),
                    "deviation": group["test_accuracy"].std(ddof=1),
                    "difference": found.value,
                    "low": found.low,
                    "high": found.high,
                    **{name: group[name].median() for name in COSTS},
                    "diverged": int(group["diverged"].sum()),
                    "seeds": group["seed"].nunique(),
                }
            )
    return pd.DataFrame(rows)


def overview(runs: pd.DataFrame, baseline: str) -> Table:
    """A line a rule and algorithm, a column a participation and heterogeneity: accuracy, a mean
    over attacks, that under the worst of them, and the difference to the baseline, of runs at the
    rates `chosen`.
    """
    settings = list(dict.fromkeys(map(tuple, runs[SETTING[1:]].to_numpy().tolist())))
    shown = Table(
        title="all attacks",
        caption=f"test accuracy, %, a mean over attacks (under the worst), and its difference to "
        f"{baseline} with the 95 % interval of a paired bootstrap over seeds",
    )
    several = runs["rule"].nunique() > 1
    add_words(shown, "algorithm")
    for participation, level in settings:
        add_numbers(shown, f"{level}, {100 * participation:g} %\ndifference\ninterval")
    for (rule, algorithm), group in runs.groupby(["rule", "algorithm"], sort=False):
        cells = []
        for participation, level in settings:
            here = (runs["participation"] == participation) & (runs["heterogeneity"] == level)
            means = group[here.loc[group.index]].groupby("attack")["test_accuracy"].mean()
            if not len(means):
                cells.append("refused")
                continue
            found = difference(runs[here & (runs["rule"] == rule)], str(algorithm), baseline)
            first = f"{100 * means.mean():.1f} ({100 * means.min():.1f})"
            cells.append("\n".join([first, *points(found.value, found.low, found.high)]))
        shown.add_row(f"{algorithm}, {rule}" if several else str(algorithm), *cells)
    return shown


def print_tables(
    summary: pd.DataFrame,
    algorithms: tuple[str, ...],
    baseline: str,
    target: float,
    title: str,
    console: Console,
) -> None:
    """Two tables a rule, participation and heterogeneity, within 100 columns: accuracy and its
    difference to the baseline, and what the target accuracy takes.
    """
    for setting, part in summary.groupby(SETTING, sort=False):
        rule, participation, level = setting
        attacks = list(dict.fromkeys(part["attack"]))
        where = f"{title}, {rule}, {level}, {100 * float(participation):g} % take part"
        accuracy = Table(
            title=where,
            caption="test accuracy, % ± deviation over seeds, and its difference to "
            f"{baseline} with the 95 % interval of a paired bootstrap over seeds; ✕: some diverged",
        )
        costs = Table(
            title=where,
            caption=f"what a worker spends until {100 * target:g} % are reached, a median over "
            "seeds: gradients of examples and millions of bits; ∞: not reached",
        )
        refused = {name: refusal(name, float(participation)) for name in algorithms}
        for table, more, cell in (
            (accuracy, "\ndifference\ninterval", _accuracy),
            (costs, "\nmegabits", _costs),
        ):
            add_words(table, "algorithm")
            add_numbers(table, "rate", *(f"{attack}{more}" for attack in attacks))
            for name in algorithms:
                some = part[part["algorithm"] == name].set_index("attack")
                if refused[name] is not None:
                    table.add_row(name, "-", *["refused"] * len(attacks))
                    table.caption = f"{table.caption}. {name}: {refused[name]}"
                elif len(some):
                    rate = f"{some['learning_rate'].iloc[0]:g}"
                    table.add_row(name, rate, *(cell(some.loc[attack]) for attack in attacks))
        console.print(accuracy)
        console.print(costs)


def _accuracy(row: pd.Series) -> str:
    spread = "" if np.isnan(row["deviation"]) else f" ± {100 * row['deviation']:.1f}"
    first = f"{100 * row['test_accuracy']:.1f}{spread}" + "✕" * bool(row["diverged"])
    return "\n".join([first, *points(row["difference"], row["low"], row["high"])])


def points(value: float, low: float, high: float) -> tuple[str, str]:
    """A difference and its interval, in percentage points."""
    if np.isnan(value):
        return "-", "-"
    between = "-" if np.isnan(low) else f"[{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{100 * value:+.1f}", between


def _costs(row: pd.Series) -> str:
    return f"{_amount(row['gradients_to'])}\n{_amount(row['megabits_to'])}"


def _amount(value: float) -> str:
    if np.isinf(value):
        return "∞"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
