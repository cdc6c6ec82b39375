"""What the papers claim, in so far as these runs can tell, and what they tell.

A claim is of two algorithms: the mean difference of their accuracies over the cases that it speaks
of, each pair of one seed, with the interval of a bootstrap over seeds. It is borne out where the
whole interval is above -margin, not where the whole is below; else these runs leave it open.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
from rich.table import Table

from experiments.distributed_momentum.analysis.bootstrap import Mean, mean
from experiments.momentum_family.tables import SETTING, difference, points
from experiments.shared.formats import add_numbers, add_words

MARGIN = 0.02  # of "as accurate"


class Comparison(NamedTuple):
    """An algorithm is better than another, or as good but for the margin."""

    sentence: str
    source: str
    algorithm: str
    other: str
    margin: float = 0.0


class Claim(NamedTuple):
    sentence: str
    source: str
    participation: float
    found: Mean
    megabits: float  # the share of the other's that were sent; NaN where nothing is said of them
    verdict: str


# Those with an arXiv number as their abstracts have them, the others from memory; the settings are
# ours.
COMPARISONS = (
    Comparison(
        "momentum at the workers holds better than none",
        "ICLR 2021, El-Mhamdi et al.",
        "worker_momentum",
        "sgd",
    ),
    Comparison(
        "and better than momentum at the update",
        "as above",
        "worker_momentum",
        "update_momentum",
    ),
    Comparison(
        "variance reduction leaves attackers less noise to hide in",
        "ICLR 2023, Gorbunov et al.",
        "storm",
        "worker_momentum",
    ),
    Comparison(
        "compression with error feedback and momentum is as accurate",
        "NeurIPS 2023, Fatkhullin et al.",
        "ef21_sgdm",
        "worker_momentum",
        margin=MARGIN,
    ),
    Comparison(
        "a second average comes closer than one",
        "arXiv 2603.15144",
        "dm21",
        "ef21_sgdm",
    ),
    Comparison(
        "and its variance-reduced form in fewer steps than that",
        "arXiv 2603.15144",
        "vr_dm21",
        "dm21",
    ),
    Comparison(
        "one random mask for all saves messages and is robust",
        "arXiv 2508.17129",
        "rosdhb",
        "worker_momentum",
        margin=MARGIN,
    ),
    Comparison(
        "absent workers' momenta hold where participants alone fail",
        "arXiv 2509.02970",
        "delayed_momentum",
        "worker_momentum",
    ),
    Comparison(
        "normalised steps hold against various attacks as well",
        "arXiv 2603.12512",
        "nsgdm",
        "worker_momentum",
        margin=MARGIN,
    ),
)
RATES = Comparison(
    "and depend less on the learning rate",
    "arXiv 2603.12512",
    "nsgdm",
    "worker_momentum",
)


def claims(chosen: pd.DataFrame, runs: pd.DataFrame) -> Iterator[Claim]:
    """The claims whose algorithms were run, each for every participation: of the runs `chosen`, at
    each algorithm's own learning rate, and of those of all.
    """
    for one in (*COMPARISONS, RATES):
        for participation in sorted(set(chosen["participation"]), reverse=True):
            part = chosen[chosen["participation"] == participation]
            if not {one.algorithm, one.other} <= set(part["algorithm"]):
                continue
            if one is RATES:
                found = _spread(runs[runs["participation"] == participation], one)
            else:
                found = difference(part, one.algorithm, one.other)
            sent = _sent(part, one.algorithm) / _sent(part, one.other)
            saving = sent if one.margin and sent < 1 else math.nan
            words = verdict(found, one.margin)
            yield Claim(one.sentence, one.source, participation, found, saving, words)


def verdict(found: Mean, margin: float) -> str:
    if found.low > -margin:
        return "borne out"
    if found.high < -margin:
        return "not borne out"
    return "left open"


def _sent(runs: pd.DataFrame, algorithm: str) -> float:
    return float(runs.loc[runs["algorithm"] == algorithm, "megabits"].mean())


def _spread(runs: pd.DataFrame, one: Comparison) -> Mean:
    """How much closer the accuracies of an algorithm's best and worst learning rate are than those
    of the other, by case and seed.
    """
    names = [*SETTING, "attack", "seed"]
    by_case = runs.groupby(["algorithm", *names], sort=False)["test_accuracy"]
    spread = by_case.max() - by_case.min()
    pairs = (spread.loc[one.other] - spread.loc[one.algorithm]).dropna().reset_index()
    return mean(pairs["test_accuracy"], pairs["seed"])


def table_of(found: list[Claim]) -> Table:
    shown = Table(
        title="what these runs say of the papers' claims",
        caption="difference of accuracies in percentage points, a mean over cases, with the 95 % "
        f"interval of a paired bootstrap over seeds; as accurate: to {100 * MARGIN:g} points; of "
        "learning rates: how much less accuracies differ between them",
    )
    shown.add_column("claim")
    shown.add_column("source")
    add_numbers(shown, "take part", "difference", "bits")
    add_words(shown, "verdict")
    last = None
    for one in found:
        bits = "" if pd.isna(one.megabits) else f"{100 * one.megabits:.0f} %"
        apart = " ".join(points(one.found.value, one.found.low, one.found.high))
        words = ("", "") if one.sentence == last else (one.sentence, one.source)
        last = one.sentence
        shown.add_row(*words, f"{100 * one.participation:g} %", apart, bits, one.verdict)
    return shown
