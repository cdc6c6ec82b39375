"""One run of the benchmark: all that defines it, and the program that it goes through."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from experiments.benchmark.entries import own
from experiments.benchmark.entries.catalogue import SAME_ROWS, kind
from experiments.benchmark.program import Program


@dataclasses.dataclass(frozen=True)
class Run:
    dataset: str
    n: int
    steps: int
    batch_size: int
    hidden: int
    validation: float
    weight_decay: float
    partition_seed: int
    evaluations: int
    rule: str
    pre: str
    f: int
    heterogeneity: str
    momentum: float
    attack: str
    learning_rate: float
    seed: int
    source: str = ""  # of a user's own rule and attack


FIELDS = tuple(field.name for field in dataclasses.fields(Run))
Refusals = dict[tuple[str, str, int], str]  # (rule, pre-aggregator, f) -> why


def product(common: Mapping, axes: Mapping[str, Sequence], refusals: Refusals) -> list[Run]:
    """All combinations of the values of these fields that no rule refuses, the first slowest."""
    values = [dict(zip(axes, some, strict=True)) for some in itertools.product(*axes.values())]
    return [
        Run(**common, **one, source=own.digest(one["rule"]) + own.digest(one["attack"]))
        for one in values
        if (one["rule"], one["pre"], one["f"]) not in refusals
    ]


def programs(runs: Iterable[Run]) -> dict[Program, list[Run]]:
    """Runs by the compiled program that they share.

    A user's own rule or attack has programs of its own, so that the library's are what they were.
    """
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        rule = run.rule if own.is_own(run.rule) else ""
        pre = "" if run.pre in SAME_ROWS else run.pre
        groups.setdefault((run.f, pre, rule, kind(run.attack)), []).append(run)
    return {program_of(some): some for some in groups.values()}


def program_of(runs: Sequence[Run]) -> Program:
    rules, pres, attacks = (
        tuple(dict.fromkeys(getattr(run, name) for run in runs))
        for name in ("rule", "pre", "attack")
    )
    first = runs[0]
    return Program(first.n, first.f, rules, pres, attacks, first.evaluations)
