"""One run of the benchmark: all that defines it, and the program that it goes through."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from experiments.benchmark.entries import own
from experiments.benchmark.entries.catalogue import ASCENT, SAME_ROWS, kind, trusting
from experiments.benchmark.program import Program
from experiments.shared.runs import grouped


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
    root_examples: int = 0  # that the server holds; 0 for a rule that asks for none
    source: str = ""  # of a user's own rule and attack


FIELDS = tuple(field.name for field in dataclasses.fields(Run))
Refusals = dict[tuple[str, str, int], str]  # (rule, pre-aggregator, f) -> why


def product(
    common: Mapping, axes: Mapping[str, Sequence], root_examples: int, refusals: Refusals
) -> list[Run]:
    """All combinations of the values of these fields that no rule refuses, the first slowest."""
    values = [dict(zip(axes, some, strict=True)) for some in itertools.product(*axes.values())]
    held = {rule: root_examples * trusting(rule) for rule in axes["rule"]}
    source = {name: own.digest(name) for name in (*axes["rule"], *axes["attack"])}
    return [
        Run(
            **common,
            **one,
            root_examples=held[one["rule"]],
            source=source[one["rule"]] + source[one["attack"]],
        )
        for one in values
        if (one["rule"], one["pre"], one["f"]) not in refusals
    ]


def programs(runs: Iterable[Run]) -> dict[Program, list[Run]]:
    """Runs by the compiled program that they share.

    A user's own rule or attack has programs of its own, so that the library's are what they were;
    so have rules that ask for a gradient on the server's examples, which the others do without, and
    the climb along a gradient, which takes long to compile through a rule that it does not climb.
    """

    def key(run: Run) -> tuple:
        rule = run.rule if own.is_own(run.rule) else ""
        pre = "" if run.pre in SAME_ROWS else run.pre
        return run.f, pre, rule, run.root_examples > 0, kind(run.attack), run.attack == ASCENT

    return {program_of(some): some for some in grouped(runs, key)}


def shard_of(
    runs: Sequence[Run], number: int, count: int, seconds: Callable[[Run], float]
) -> list[Run]:
    """The runs of the number-th of `count` shares, which take about the same time each.

    Runs of one file stay together, and a share is one piece of the files in the order of their
    programs, so that no more than one program of each kind is compiled for two shares.
    """
    by_program = sorted(runs, key=lambda run: (run.f, run.pre not in SAME_ROWS))
    files = grouped(by_program, lambda run: (run.f, run.pre, run.rule))
    times = np.array([sum(map(seconds, some)) for some in files])
    middles = np.cumsum(times) - times / 2
    shares = np.minimum(middles / times.sum() * count, count - 1).astype(int)
    mine = {run for some, at in zip(files, shares, strict=True) if at == number - 1 for run in some}
    return [run for run in runs if run in mine]


def program_of(runs: Sequence[Run]) -> Program:
    rules, pres, attacks = (
        tuple(dict.fromkeys(getattr(run, name) for run in runs))
        for name in ("rule", "pre", "attack")
    )
    first = runs[0]
    return Program(first.n, first.f, rules, pres, attacks, first.evaluations)
