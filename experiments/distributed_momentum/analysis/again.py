"""Runs computed again: how far the accuracies of the same runs are apart, by later code or on
another machine.

Equal bits are not to be expected: another processor's sums round differently, and over hundreds of
steps under attack that decides which of two neighbours a rule takes. What is to be expected is that
configurations keep their means, as far as the spread over seeds tells them.
"""

from typing import NamedTuple

import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

CONFIDENCE = 0.95


class Again(NamedTuple):
    runs: pd.DataFrame  # one row a run of both; `difference` of highest accuracies, new - old
    configurations: pd.DataFrame  # by name: runs, mean difference, allowed


def compare(runs: pd.DataFrame, again: pd.DataFrame) -> Again:
    """The runs of both tables, by file.

    A configuration's mean may be off by as much as two means of `runs` seeds each are in 95 % of
    cases, √(2 / runs) · deviation over the old seeds · Student's t.
    """
    old = runs[["file", "name", "dataset", "seed", "highest_accuracy"]]
    new = again[["file", "highest_accuracy"]]
    both = old.merge(new, on="file", suffixes=("", "_new"))
    both["difference"] = both["highest_accuracy_new"] - both["highest_accuracy"]
    spread = runs.groupby("name")["highest_accuracy"].agg(["std", "count"])
    found = both.groupby("name")["difference"].agg(["count", "mean"])
    t = stats.t.ppf((1 + CONFIDENCE) / 2, spread["count"].clip(lower=2) - 1)
    allowed = (t * spread["std"])[found.index] * (2 / found["count"]) ** 0.5
    columns = {"runs": found["count"], "difference": found["mean"], "allowed": allowed}
    return Again(both, pd.DataFrame(columns).reset_index())
