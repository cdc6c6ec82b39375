"""The table of the runs: each rule on each graph under its worst attack."""

import numpy as np
import pandas as pd
from rich.table import Table

from experiments.defence_matrix.tables import accuracy, initials, legend
from experiments.shared.formats import Printer, add_numbers, add_words

CELL = ["graph", "rule", "f", "heterogeneity"]


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a graph, rule, f and heterogeneity, of means over seeds.

    `test_accuracy` is the least over attacks of the nodes' mean, `worst_attack` is of it, and
    `deviation` (over seeds), `worst_node`, `consensus_distance` and `byzantine_share` are under it.
    `diverged` is the number of its runs that ended with nodes that are no numbers, or too far apart
    for one; their distance is infinite.
    """
    rows = []
    for cell, group in runs.groupby(CELL, sort=False):
        by_attack = group.groupby("attack", sort=False)
        means = by_attack["test_accuracy"].mean()
        attack = means.idxmin()
        some = by_attack.get_group(attack)
        distances = some["consensus_distance"].fillna(np.inf)
        rows.append(
            dict(zip(CELL, cell, strict=True))
            | {
                "test_accuracy": means[attack],
                "deviation": some["test_accuracy"].std(ddof=1),
                "worst_node": some["worst_accuracy"].mean(),
                "best_node": some["best_accuracy"].mean(),
                "consensus_distance": distances.mean(),
                "byzantine_share": some["byzantine_share"].mean(),
                "worst_attack": attack,
                "seeds": some["seed"].nunique(),
                "diverged": int(np.isinf(distances).sum()),
            }
        )
    return pd.DataFrame(rows)


def print_table(summary: pd.DataFrame, conditions: dict, title: str, console: Printer) -> None:
    """The summary, within 100 columns. conditions: (graph, f) -> words on its network."""
    attacks = initials(summary["worst_attack"])
    shown = Table(
        title=title,
        caption="test accuracy, % ± deviation over seeds, mean and worst honest node, under the "
        "worst attack; apart: distance to consensus. " + legend(attacks, summary),
    )
    add_words(shown, "graph", "f", "data", "rule")
    add_numbers(shown, "mean", "worst", "apart")
    add_words(shown, "by")
    for (graph, f, level), group in summary.groupby(["graph", "f", "heterogeneity"], sort=False):
        names = [str(graph), str(f), str(level)]
        for row in group.to_dict("records"):
            shown.add_row(
                *names,
                row["rule"],
                accuracy(row),
                f"{100 * row['worst_node']:.1f}",
                "∞" if np.isinf(apart := row["consensus_distance"]) else f"{apart:.2g}",
                attacks[row["worst_attack"]],
            )
            names = ["", "", ""]
        shown.add_section()
    console.print(shown)
    for (graph, f), words in conditions.items():
        console.note(f"{graph}, f = {f}: {words}")
