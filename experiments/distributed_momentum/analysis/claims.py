"""Each sentence of the paper's claim against the runs that are there."""

import math
from typing import Literal, NamedTuple

import pandas as pd

from experiments.distributed_momentum.analysis.bootstrap import Mean, Share, mean, share
from experiments.distributed_momentum.analysis.pairs import counts

Verdict = Literal["supported", "not supported", "not decided by this data"]


class Claim(NamedTuple):
    sentence: str
    verdict: Verdict
    evidence: str


def claims(pairs: pd.DataFrame, runs: pd.DataFrame) -> list[Claim]:
    """The verdicts on the runs that are there, and their pairs of one convention; what has not been
    run can still overturn them.
    """
    found = counts(pairs)
    deviation = mean(pairs["deviation_by_momentum"], pairs["seed"])
    ratio = mean(pairs["by_momentum"], pairs["seed"])
    return [
        _often(
            "The two attacks break current defences (asked here: they cost more than 20 % of "
            "accuracy in more than a tenth of the pairs).",
            found["effective_0.2"],
            0.1,
            "pairs lose more than 20 %",
        ),
        _always(
            "Where an attack costs more than 20 %, momentum at the workers gains accuracy in every "
            "case.",
            found["positive_0.2"],
        ),
        _often(
            "In more than 60 % of these cases it gains more than 20 %.",
            found["gain_above_0.2"],
            0.6,
            "of them gain more than 20 %",
        ),
        Claim(
            "Momentum at the workers increases the variance of what is sent.",
            _verdict(deviation.low > 0, deviation.high < 0),
            _factor(deviation, "times the deviation of the sampled gradients, in the same runs"),
        ),
        Claim(
            "It lowers the variance-norm ratio all the same.",
            _verdict(ratio.high < 0, ratio.low > 0),
            _factor(ratio, "times the ratio of the sampled gradients, in the same runs"),
        ),
        _seldom(runs),
    ]


def condition(runs: pd.DataFrame) -> tuple[Share, Share]:
    """Of attacked runs whose rule has a bound: in how many the condition ever held, and at how many
    of all their steps. A step counts only where the mean loss is at most its value at step 0.
    """
    known = runs[runs["bound"].notna() & (runs["attack"] != "none")]
    ever = share(known["condition_steps"] > 0, known["bound"].notna(), known["seed"])
    steps = Share(
        int(known["condition_steps"].sum()), int(known["steps"].sum()), math.nan, math.nan
    )
    return ever, steps


def percent(part: Share) -> str:
    """12 of 34 (35.3 %, 30.0 to 41.2 %); without the interval where every resample agrees, which
    says only that five seeds show no variation.
    """
    if not part.total:
        return "0 of 0"
    text = f"{part.count} of {part.total} ({100 * part.value:.1f} %"
    if part.low < part.high:
        text += f", {100 * part.low:.1f} to {100 * part.high:.1f} %"
    return text + ")"


def _verdict(supported: bool, refuted: bool) -> Verdict:
    """Of what an interval says; one that is NaN, or on both sides, says nothing."""
    return "supported" if supported else "not supported" if refuted else "not decided by this data"


def _always(sentence: str, part: Share) -> Claim:
    if not part.total:
        return Claim(sentence, "not decided by this data", "no such case among the runs")
    verdict = _verdict(part.count == part.total, part.count != part.total)
    return Claim(sentence, verdict, f"{percent(part)} gain")


def _often(sentence: str, part: Share, threshold: float, what: str) -> Claim:
    verdict = _verdict(part.low > threshold, part.high <= threshold)
    return Claim(sentence, verdict, f"{percent(part)} {what}")


def _factor(found: Mean, what: str) -> str:
    """A mean of logarithms in words."""
    if not found.total:
        return "no such run"
    low, value, high = (math.exp(x) for x in (found.low, found.value, found.high))
    return f"{value:.3g} {what} (geometric mean of {found.total} runs, {low:.3g} to {high:.3g})"


def _seldom(runs: pd.DataFrame) -> Claim:
    sentence = (
        "The variance-norm condition that the theory asks for seldom holds (in fewer than half of "
        "the attacked runs, even at one step)."
    )
    ever, steps = condition(runs)
    if not ever.total:
        return Claim(sentence, "not decided by this data", "no run of a rule with a known bound")
    evidence = f"it holds at some step of {percent(ever)} runs, at {steps.count} of {steps.total}"
    return Claim(sentence, _verdict(ever.high < 0.5, ever.low >= 0.5), f"{evidence} steps")
