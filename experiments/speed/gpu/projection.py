"""How long the paper's grid would take on this device, by what was measured of it."""

from collections.abc import Iterator, Sequence
from typing import Any

from experiments.distributed_momentum.grid.programs import programs
from experiments.distributed_momentum.grid.settings import PAPER
from experiments.speed.gpu.journal import Result
from experiments.speed.gpu.sizes import Sizes
from experiments.speed.measured.grid import HALF, runs_of

# Rules that compute distances cost what krum does, the others what the median does, about.
BY_DISTANCES = ("krum", "bulyan")


def project(sizes: Sizes, known: Sequence[Result]) -> Iterator[Result]:
    """Hours of the MNIST half, and of all 3,680 runs by each precision of the convolutions; none,
    where what it takes was not measured.

    Runs of the dense network go at their best width. Those of the convolutional one are counted one
    after the other, steps and evaluations as measured, compilation included for each program.
    """
    dense = [_dense_hours(sizes, known, dataset) for dataset in HALF]
    half = _sum(dense)
    yield {"what": "MNIST half", "runs": _count(HALF), "hours": half}
    others = [dataset for dataset in PAPER if dataset not in HALF]
    for precision in ("float32", "tf32", "bfloat16"):
        hours = [_conv_hours(sizes, known, dataset, precision) for dataset in others]
        common = {"precision": precision, "runs": _count(others), "hours": _sum(hours)}
        yield {"what": "CIFAR half"} | common
        whole = {"runs": _count(PAPER), "hours": _sum([half, *hours])}
        yield {"what": "whole grid"} | common | whole


def _dense_hours(sizes: Sizes, known: Sequence[Result], dataset: str) -> float | None:
    runs = runs_of(dataset)
    total = 0.0
    for distances, cheap_or_dear in enumerate(sizes.rules):
        widths = _of(known, part="widths", what="sweep", rule=cheap_or_dear)
        each = [r["seconds_a_run"] for r in widths if "seconds_a_run" in r]
        if not each:
            return None
        compiling = max(r["with_compilation"] for r in widths if "with_compilation" in r)
        own = [run for run in runs if (run.cell.rule in BY_DISTANCES) == bool(distances)]
        total += min(each) * len(own) + compiling * len(programs(own))
    return total / 3600


def _conv_hours(
    sizes: Sizes, known: Sequence[Result], dataset: str, precision: str
) -> float | None:
    setting, runs = PAPER[dataset], runs_of(dataset)
    of = {"part": "convolution", "precision": precision}
    testing = _latest(known, "milliseconds", what="evaluation", **of)
    total = 0.0
    for distances, cheap_or_dear in enumerate(sizes.rules):
        # The size of f that was measured stands for the other in the rehearsal alone.
        for f, measured in zip(sorted(setting.f), sizes.conv_f * len(setting.f), strict=False):
            step = {"what": "step", "rule": cheap_or_dear, "f": measured}
            each = _latest(known, "milliseconds", **step, **of)
            compiling = _latest(known, "compile_seconds", **step, **of)
            if each is None or compiling is None or testing is None:
                return None
            own = [
                run
                for run in runs
                if (run.cell.rule in BY_DISTANCES) == bool(distances) and _tolerated(run.cell) == f
            ]
            evaluations = -(-setting.steps // setting.evaluate_every) + 1
            seconds = (each * setting.steps + testing * evaluations) / 1e3
            total += seconds * len(own) + compiling * len(programs(own))
    return total / 3600


def _tolerated(cell: Any) -> int:
    """The f of a cell, or of those that an unattacked one stands beside."""
    return cell.f or PAPER[cell.dataset].n - cell.n


def _count(datasets) -> int:
    return sum(len(runs_of(dataset)) for dataset in datasets)


def _of(known: Sequence[Result], **wanted: Any) -> list[Result]:
    return [r for r in known if all(r.get(key) == value for key, value in wanted.items())]


def _latest(known: Sequence[Result], column: str, **wanted: Any) -> float | None:
    values = [r[column] for r in _of(known, **wanted) if column in r]
    return values[-1] if values else None


def _sum(hours: Sequence[float | None]) -> float | None:
    known = [each for each in hours if each is not None]
    return sum(known) if len(known) == len(hours) else None
