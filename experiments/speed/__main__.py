"""Speed on this machine: `rules` times every aggregation rule beside the floor and the peers.

One core, float32, compiled, warm, every call blocked on; all functions take turns, and medians are
given. The floor is measured in the same run: a sum of the rows (one pass over the n × d stack), and
the n × n × d matrix product that distances take. ByzFL is timed beside where it is installed
(pip install '.[peers]').
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from experiments.speed.timing import use_one_core


@dataclasses.dataclass(frozen=True)
class Options:
    what: tyro.conf.Positional[Literal["rules"]] = "rules"
    n: int | None = None
    """Workers: with --d and --f, one size in place of the four of the table."""
    d: int | None = None
    f: int | None = None
    rule: tuple[str, ...] = ()
    """Names of rules; all if none is given."""
    repetitions: int = 7
    peers: bool = True
    results: Path = Path("results/speed")


def command(arguments: Sequence[str] | None = None) -> int:
    options = tyro.cli(
        Options, args=arguments, prog="python -m experiments.speed", description=__doc__
    )
    size = (options.n, options.d, options.f)
    if any(part is not None for part in size) and None in size:
        print("error: --n, --d and --f make one size: give all three", file=sys.stderr)
        return 2
    if options.repetitions < 1:
        print(f"error: repetitions must be at least 1, got {options.repetitions}", file=sys.stderr)
        return 2
    # Imported late: the core must be chosen before JAX starts its threads.
    from rich.console import Console

    from experiments.speed.report import plot, table
    from experiments.speed.rules import SIZES, measure
    from simbyz import records
    from simbyz.aggregators import AGGREGATORS

    unknown = set(options.rule) - set(AGGREGATORS) - {"krum (released)", "bulyan (released)"}
    if unknown:
        known = ", ".join(AGGREGATORS)
        print(f"error: unknown rules {sorted(unknown)}; known: {known}", file=sys.stderr)
        return 2
    try:
        records.prepare_folder(options.results)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    frame = measure(
        SIZES if options.n is None else (size,),
        repetitions=options.repetitions,
        only=options.rule,
        peers=options.peers,
    )
    console = Console(width=100)
    for one_size in table(frame):
        console.print(one_size)
    frame.to_csv(options.results / "rules.csv", index=False)
    plot(frame).savefig(options.results / "rules.png", dpi=150)
    print(f"written: {options.results / 'rules.csv'}, {options.results / 'rules.png'}")
    return 0


if __name__ == "__main__":
    use_one_core()
    sys.exit(command())
