"""Steps, runs and rules, timed as the other sub-commands do, with the device's own ceilings."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from experiments.speed import floor
from experiments.speed.gpu import ceilings
from experiments.speed.gpu.journal import Result
from experiments.speed.gpu.sizes import FULL, Sizes
from experiments.speed.measured import rules as every_rule
from experiments.speed.measured import run, step

Work = tuple[str, Callable[[], Iterator[Result]]]  # with its name

# Rules that decide most come first.
FIRST = (
    "median",
    "krum (released)",
    "trimmed_mean",
    "phocas",
    "meamed",
    "bulyan (released)",
    "average",
    "nearest_neighbor_mixing",
    "geometric_median",
    "krum",
)


def measure(sizes: Sizes, until: float, known: Sequence[Result]) -> Iterator[Result]:
    """Steps and runs of two rules, and every rule at each size, what decides most first, until the
    time is up.

    `copies` is a rule's time over that of copying the stack, read and written, at the device's
    rate.
    """
    copied = ceilings.of(known).get("copy", float("nan"))
    few = 50 if sizes is FULL else 2
    steps = _of_rules("step", sizes, step.measure, steps=few, repetitions=3)
    runs = _of_rules("run", sizes, run.measure, steps=sizes.timed_steps, repetitions=2)
    rules = _rules(sizes, copied)
    some = 4 * len(sizes.timed)
    order = [*steps[:1], *rules[:some], *steps[1:], *runs, *rules[some:]]
    for number, (what, work) in enumerate(order):
        if time.monotonic() > until:
            yield {"what": "not reached", "names": [name for name, _ in order[number:]]}
            return
        try:
            yield from work()
        except Exception as error:  # a compiler's or a device's own; the next may do
            yield {"what": what, "error_message": f"{type(error).__name__}: {error}"[:300]}


def _of_rules(
    kind: str, sizes: Sizes, measure: Callable[..., pd.DataFrame], **options: int
) -> list[Work]:
    """Steps or runs, of one rule each."""

    def work(rule: str) -> Iterator[Result]:
        return _results(kind, measure(sizes.dataset, (sizes.f,), rules=(rule,), **options))

    return [(f"{kind}: {rule}", functools.partial(work, rule)) for rule in sizes.rules]


def _rules(sizes: Sizes, copied: float) -> list[Work]:
    """A rule at every size, then the next; in a rehearsal those alone that come first."""
    names = dict.fromkeys([*FIRST, *every_rule.NAMES]) if sizes is FULL else FIRST
    return [
        (f"{name}, n = {size[0]}, f = {size[2]}", functools.partial(_rule, name, size, copied))
        for name in names
        for size in sizes.timed
    ]


def _rule(name: str, size: tuple[int, int, int], copied: float) -> Iterator[Result]:
    """Its time and the floor's; nothing where (n, f) does not bear it."""
    n, d, _ = size
    lanes = floor.lanes(n, d)
    frame = every_rule.measure([size], repetitions=5, only=[name], beside_peers=False, lanes=lanes)
    frame["lanes"] = lanes
    frame["copies"] = 1e-3 * frame["milliseconds"] * copied / (8 * n * d)
    if name in set(frame["what"]):
        yield from _results("rule", frame[frame["what"].isin([name, "floor: one pass"])])


def _results(kind: str, frame: pd.DataFrame) -> Iterator[Result]:
    for row in frame.to_dict("records"):
        known = {str(key): value for key, value in row.items() if not pd.isna(value)}
        yield {"what": known.pop("what"), "kind": kind} | known
