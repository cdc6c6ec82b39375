"""Which attack is the worst for whom, and what more attacks take away."""

from collections.abc import Sequence

import pandas as pd

from experiments.benchmark.answers import ranking

POINT = 0.01


def worst_for(runs: pd.DataFrame) -> dict[str, dict[int, int]]:
    """Of each attack that is the worst for a rule, for how many by f; the most frequent first."""
    table = ranking.worst_cases(runs)
    counted = table.groupby(["worst_attack", "f"]).size().unstack(fill_value=0)
    counted = counted.loc[counted.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    return {str(attack): row.to_dict() for attack, row in counted.iterrows()}


def beyond(runs: pd.DataFrame, base: Sequence[str]) -> pd.DataFrame:
    """By how much all attacks change the worst accuracy that the base's leave: a row an f and
    heterogeneity, see `ranking.paired`; `worse` counts the rules that lose more than a point.

    Each side has the learning rates that are best against its own attacks.
    """
    under_all = ranking.by_seed(runs)
    under_base = ranking.by_seed(runs[runs["attack"].isin(base)])
    found = ranking.paired(under_all, under_base)
    losing = pd.Series(
        {cell: (one - under_base[cell]).mean() < -POINT for cell, one in under_all.items()}
    )
    counts = losing.groupby(level=[2, 3]).sum()
    return found.assign(
        worse=[int(counts[row["f"], row["heterogeneity"]]) for row in found.to_dict("records")]
    )
