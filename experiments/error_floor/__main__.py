"""The error that no rule can avoid on heterogeneous data, against what robust rules reach.

Quadratics of known heterogeneity ζ, several attacks (among them the one that the lower bound is
proved with), and the final squared gradient norm against f / (n - 2f) · ζ². About a minute on two
cores. Writes a table, a picture and every run as a row of runs.csv.
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
from tqdm import tqdm

from experiments.error_floor import report
from experiments.error_floor.simulate import check, measure
from experiments.shared.command_line import parse
from experiments.shared.devices import prepare_devices
from experiments.shared.option_checks import check_options
from simbyz import records

RuleName = Literal[
    "average", "median", "trimmed_mean", "krum", "geometric_median", "mixed_trimmed_mean"
]


@dataclasses.dataclass(frozen=True)
class Options:
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
    results: Path = Path("results/error_floor")
    """Folder of the table of runs and the picture."""


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
    for f in options.f:
        if not 1 <= f < options.n / 2:
            raise ValueError(
                f"f must be from 1 to below n / 2 = {options.n / 2:g}, the floor's domain, got {f}"
            )
    for zeta in options.zeta:
        if not (math.isfinite(zeta) and zeta > 0):
            raise ValueError(f"zeta must be positive and finite, got {zeta}")
    if not (math.isfinite(options.sigma) and options.sigma >= 0):
        raise ValueError(f"sigma must be at least 0 and finite, got {options.sigma}")
    if options.steps < 1:
        raise ValueError(f"steps must be at least 1, got {options.steps}")
    check(options.rule, options.n, options.f)
    records.prepare_folder(options.results)


def main(options: Options) -> Results:
    """Run what is asked for."""
    prepare(options)
    return compute(options)


def compute(options: Options) -> Results:
    with tqdm(total=len(options.rule) * len(options.f), unit="program", disable=None) as bar:

        def progress(text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update()

        runs = measure(
            list(dict.fromkeys(options.rule)),
            options.n,
            list(dict.fromkeys(options.f)),
            list(dict.fromkeys(options.zeta)),
            options.seeds,
            sigma=options.sigma,
            steps=options.steps,
            progress=progress,
        )
    return Results(runs, report.summarise(runs))


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 done, 2 the user's mistake, 130 stopped, 1 anything else."""
    options = parse(Options, arguments, "error_floor", __doc__)
    try:
        prepare(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        results = compute(options)
        report.print_table(
            results.summary,
            f"n = {options.n}, ζ = {max(options.zeta):g}, σ = {options.sigma:g}, "
            f"seeds {options.seeds}",
        )
        table = options.results / "runs.csv"
        pictures = [options.results / f"error_floor.{ending}" for ending in ("pdf", "png")]
        results.runs.to_csv(table, index=False)
        figure = report.plot(results.runs)
        for picture in pictures:
            figure.savefig(picture, dpi=150)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: nothing was written", file=sys.stderr)
        return 130
    print("written: " + ", ".join(map(str, [table, *pictures])))
    return 0


if __name__ == "__main__":
    prepare_devices()
    sys.exit(command())
