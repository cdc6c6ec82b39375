"""The error that no rule can avoid on heterogeneous data, against what robust rules reach.

Quadratics of known heterogeneity ζ, several attacks (among them the one that the lower bound is
proved with), and the final squared gradient norm against f / (n - 2f) · ζ². About a minute on two
cores. Writes a table, a picture and every run as a row of runs.csv.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from experiments.error_floor import tables
from experiments.error_floor.simulate import check, measure
from experiments.shared.files import save_figure, save_table
from experiments.shared.formats import Output, Printer
from experiments.shared.options.checks import check_below_half, check_memory, check_options
from experiments.shared.options.question import folder_of
from experiments.shared.progress import FIRST, bar, tell
from experiments.shared.run import run, start
from simbyz import records

RuleName = Literal[
    "average", "median", "trimmed_mean", "krum", "geometric_median", "mixed_trimmed_mean"
]


@dataclasses.dataclass(frozen=True)
class Runs:
    """The runs: all combinations of rules, f, ζ and seeds."""

    rule: tuple[RuleName, ...] = (
        "median",
        "trimmed_mean",
        "krum",
        "geometric_median",
        "mixed_trimmed_mean",
    )
    """Defences. krum counts n - f - 1 neighbours; mixed: after nearest-neighbour mixing."""
    n: int = 20
    """Workers, Byzantine ones included."""
    f: tuple[int, ...] = (1, 3, 6, 8)
    """Byzantine workers, present and tolerated."""
    zeta: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """Heterogeneity: root of the mean squared distance of workers' gradients from their mean."""
    sigma: float = 0.1
    """Noise of stochastic gradients, root of the mean squared norm."""
    steps: int = 300
    """Steps of a run."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of quadratics and noise."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where results go."""

    results: Path = Path("results/error_floor")
    """Folder of the table of runs and the picture."""


@dataclasses.dataclass(frozen=True)
class Options(Runs, Storage, Output):
    """The runs, and what is made of them."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(rule=("trimmed_mean",), n=7, f=(2,), zeta=(1.0, 10.0), steps=200, seeds=(1, 2))


class Results(NamedTuple):
    runs: pd.DataFrame  # one row a run
    summary: pd.DataFrame  # one row a rule and f


def prepare(options: Options) -> None:
    """Check everything that can be before the first step.

    Raises:
      ValueError, OSError: what is wrong and what is allowed, in one line.
    """
    check_options(options, "rule", "f", "zeta")
    check_below_half(options)
    check_memory(4 * options.n**2, f"n = {options.n}")
    check(options.rule, options.n, options.f)
    records.prepare_folder(options.results)


def main(options: Options) -> Results:
    """Run what is asked for."""
    prepare(options)
    return compute(options)


def compute(options: Options, stop: Callable[[], bool] = lambda: False) -> Results:
    with bar(len(options.rule) * len(options.f), "program", stop) as progress:
        progress(0, FIRST)
        runs = measure(
            options.rule,
            options.n,
            options.f,
            options.zeta,
            options.seeds,
            sigma=options.sigma,
            steps=options.steps,
            progress=functools.partial(progress, 1),
        )
    return Results(runs, tables.summarise(runs))


def execute(options: Options, prepared: None, stop: Callable[[], bool]) -> None:
    """Run what is asked for; print and write all of it."""
    results = compute(options, stop)
    tables.print_table(
        results.summary,
        f"n = {options.n}, ζ = {max(options.zeta):g}, σ = {options.sigma:g}, seeds {options.seeds}",
        Printer(options.format),
    )
    folder = folder_of(options, Runs)
    table = folder / "runs.csv"
    pictures = [folder / f"error_floor.{ending}" for ending in ("pdf", "png")]
    save_table(results.runs, table)
    tell("drawing pictures")
    figure = tables.plot(results.runs)
    for picture in pictures:
        save_figure(figure, picture, dpi=150)
    print("written: " + ", ".join(map(str, [table, *pictures])))


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(Options, arguments, "error_floor", __doc__, prepare, execute)


if __name__ == "__main__":
    start(command)
