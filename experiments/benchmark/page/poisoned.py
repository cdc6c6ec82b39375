"""The section on mislabelled data against made-up gradients."""

import pandas as pd

from experiments.benchmark.answers import poisoning
from experiments.benchmark.entries.parts import PARTS
from experiments.benchmark.page import words
from experiments.benchmark.page.markdown import data_of, percent, spoken
from experiments.shared.formats import rows_in_markdown


def section(runs: pd.DataFrame) -> str:
    """Whether the mean does better than robust rules where labels are wrong."""
    found, n = poisoning.against_average(runs), int(runs["n"].iloc[0])
    rows = [
        [
            words.THREATS[row["threat"]],
            data_of(row["f"], n, row["heterogeneity"]),
            percent(row["average"]),
            f"{percent(row['best'])}, `{row['rule']}`",
            f"{row['better']} of {row['rules']}",
            str(row["worse"]),
        ]
        for row in found.to_dict("records")
    ]
    heads = ["threat", "f/n, data", "`average`", "the best rule", "rules better", "rules worse"]
    labels = found[found["threat"] == "labels"]
    agree = labels["better"] < labels["worse"]
    head = words.POISONING.format(
        question=PARTS["labels"].question,
        attacks=", ".join(map(spoken, dict.fromkeys(runs["attack"]))),
        seeds=runs["seed"].nunique(),
    )
    says = (
        f"Under flipped labels more rules are worse than the mean than better in {agree.sum()} "
        f"of {len(labels)} settings, and none is better in {(labels['better'] == 0).sum()}: "
        f"{verdict(labels)}\n"
    )
    return "\n".join([head, rows_in_markdown(heads, rows), says])


def verdict(labels: pd.DataFrame) -> str:
    """What the settings say of the claim together."""
    if (labels["better"] == 0).all():
        return "the claim holds on these data."
    if (labels["better"] > labels["worse"]).all():
        return "the claim does not hold on these data."
    return "the claim holds of some rules and settings on these data, not of all."
