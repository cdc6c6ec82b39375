"""Limits of the number of workers and of parameters: arithmetic from measured rates.

Prints the tables of docs/scale.md: what each family of rules holds, computes and sends in a step of
n workers and d parameters, and how small sketches and samples may be for a stated error.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from experiments.shared.formats import rows_in_markdown

# Of one core, docs/speed-rules.md and docs/speed.md: a pass over a stack of 25 × 1,310,922 floats
# in 8.4 ms; matrix products; a sort of 1,000 rows of 10,000 in 1.5 s, n log2 n comparisons each.
BYTES_PER_SECOND = 4 * 25 * 1_310_922 / 8.4e-3
FLOPS_PER_SECOND = 150e9
COMPARISONS_PER_SECOND = 1000 * math.log2(1000) * 10_000 / 1.5
# Assumed: bytes a second and device, 400 Gbit/s; bytes of a device's memory.
NETWORK = 50e9
DEVICE = 80e9
SIZES = ((1_000, 1_310_922), (10_000, 1_310_922), (10_000, 10**9), (10**6, 10**9))


class Family(NamedTuple):
    """A kind of rules; numbers of a step as functions of (n, d), f being n / 5."""

    name: str
    beside: Callable[[int, int], float]  # floats held beside the stack, on every device
    flops: Callable[[int, int], float]
    passes: float  # readings of the stack
    reduced: Callable[[int], float]  # floats that the devices add up
    rate: float = FLOPS_PER_SECOND


FAMILIES = (
    Family("average", lambda n, d: 0, lambda n, d: n * d, 1, lambda n: 0),
    Family(
        "coordinate-wise",
        lambda n, d: 0,
        lambda n, d: n * math.log2(n) * d,
        2,
        lambda n: 0,
        COMPARISONS_PER_SECOND,
    ),
    Family("norm filters", lambda n, d: n, lambda n, d: 3 * n * d, 2, lambda n: n),
    Family("centre, 3 iterations", lambda n, d: n, lambda n, d: 15 * n * d, 6, lambda n: 3 * n),
    Family("distance", lambda n, d: n * n, lambda n, d: 2 * n * n * d, 2, lambda n: n * n),
    # At most 2f eigendecompositions of about 9 n³.
    Family(
        "spectral",
        lambda n, d: 2 * n * n,
        lambda n, d: 2 * n * n * d + 2 * (n // 5) * 9 * n**3,
        2,
        lambda n: n * n,
    ),
)


def seconds(family: Family, n: int, d: int, devices: int) -> float:
    """Of a step's rule on so many devices of one core's rates: reading, computing and sending."""
    reading = family.passes * 4 * n * d / BYTES_PER_SECOND
    computing = family.flops(n, d) / family.rate
    return (reading + computing) / devices + sent(family, n, d, devices) / NETWORK


def sent(family: Family, n: int, d: int, devices: int) -> float:
    """Bytes to each device in a step: the all-to-all of the stack, and a ring all-reduce of the
    rule, which carries every number twice.
    """
    return 4 * (n * d / devices + 2 * family.reduced(n))


def devices_for(n: int, d: int) -> int:
    """Devices that hold the stack and the workers' momenta."""
    return math.ceil(2 * 4 * n * d / DEVICE)


def sketch_rows(n: int, error: float, failure: float = 1e-3) -> int:
    """Numbers a row of a Gaussian sketch, of which all squared distances are within 1 ± error.

    A projected squared length is chi-squared: beyond 1 ± ε with probability at most 2 exp(-m (ε² /
    2 - ε³ / 3) / 2) (Johnson and Lindenstrauss; Dasgupta and Gupta, 2003); there are n (n - 1) / 2.
    """
    return math.ceil(2 * math.log(n * (n - 1) / failure) / (error**2 / 2 - error**3 / 3))


def sampled_workers(d: int, error: float, failure: float = 1e-3) -> int:
    """Workers drawn with replacement, whose median has in all of d coordinates a rank within
    (1 / 2 ± error) n of all workers: by Hoeffding's bound on both sides.
    """
    return math.ceil(math.log(2 * d / failure) / (2 * error**2))


def amount(number: float) -> str:
    """Two digits, or more where it takes them, with a unit's prefix: 5.2 G."""
    power = min(max(int(math.log10(number)) // 3, 0), 8) if number >= 1 else 0
    number /= 1000**power
    digits = f"{number:.2g}" if number < 99.5 else f"{number:,.0f}"
    return f"{digits} {' kMGTPEZY'[power]}".replace("  ", " ")


def duration(number: float) -> str:
    for unit, name in ((365 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if number >= 2 * unit:
            return f"{amount(number / unit).strip()} {name}"
    return f"{number:.2g} s"


def stacks() -> str:
    return rows_in_markdown(
        (
            "n",
            "d",
            "stack",
            "n × n matrix",
            "devices for stack and momenta",
            "sent to each in a step",
        ),
        [
            (
                f"{n:,}",
                f"{d:,}",
                f"{amount(4 * n * d)}B",
                f"{amount(4 * n * n)}B",
                f"{devices_for(n, d):,}",
                f"{amount(4 * n * d / count)}B" if (count := devices_for(n, d)) > 1 else "nothing",
            )
            for n, d in SIZES
        ],
    )


def families() -> str:
    def of(family: Family, n: int, d: int) -> str:
        devices = max(8, devices_for(n, d))
        held, moved = 4 * family.beside(n, d), sent(family, n, d, devices)
        return (
            f"{amount(family.flops(n, d))}FLOP, {amount(held)}B held, {amount(moved)}B sent, "
            f"{duration(seconds(family, n, d, devices))}"
        )

    return rows_in_markdown(
        ("family", *(f"n = {n:,}, d = {d:,}" for n, d in SIZES)),
        [(family.name, *(of(family, n, d) for n, d in SIZES)) for family in FAMILIES],
    )


def approximations() -> str:
    rows = []
    for n, d in ((1_000, 1_310_922), (10_000, 10**9), (10**6, 10**9)):
        for error in (0.1, 0.3):
            m = sketch_rows(n, error)
            rows.append((f"{n:,}", f"{error}", f"{m:,}", f"{amount(4 * n * m)}B", f"{d / m:,.0f}"))
    return rows_in_markdown(
        ("n", "ε of squared distances", "numbers a row, m", "all sketches", "d / m"), rows
    )


def samples() -> str:
    rows = []
    for d in (1_310_922, 10**9):
        for error in (0.01, 0.05, 0.1):
            s = sampled_workers(d, error)
            rows.append((f"{d:,}", f"{error}", f"{s:,}", f"{amount(4 * s * d)}B"))
    return rows_in_markdown(("d", "ε of the rank", "workers drawn", "their stack"), rows)


TABLES = (stacks, families, approximations, samples)


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 done, 2 the user's mistake."""
    argparse.ArgumentParser(
        prog="python -m experiments.scale",
        usage="%(prog)s [-h] | sharded [-h] [OPTIONS]",
        description=__doc__,
        epilog="sharded: what one run takes of many devices, by compiled programs.",
    ).parse_args(arguments)
    print("\n".join(make() for make in TABLES), end="")
    return 0
