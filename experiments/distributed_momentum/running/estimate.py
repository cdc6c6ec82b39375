"""How long a run takes, before it is run: by finished runs, or by a small table."""

from collections.abc import Callable
from pathlib import Path

import jax

from experiments.distributed_momentum.grid.cells import Cell
from experiments.distributed_momentum.grid.footprint import dimension
from experiments.distributed_momentum.grid.programs import Run
from simbyz import records

# One core of an AMD EPYC server, November 2026, float32, rounded. Conv: workers one by one; the
# Wide-ResNet: its products at 50 GFLOP/s.
PER_HONEST_WORKER = {"dense": 0.00067, "conv": 0.52, "wide": 12.5}  # seconds a step
PER_RULE = {  # seconds a step, for n × d = 51 × 79,510
    "average": 0.0,
    "median": 0.003,
    "trmean": 0.003,
    "phocas": 0.004,
    "meamed": 0.004,
    "krum": 0.018,
    "bulyan": 0.019,
}
TABLE = "table"


def from_table(cell: Cell) -> float:
    """Seconds of a run of the cell on one core."""
    kind = "wide" if cell.depth else "conv" if cell.dataset.startswith("cifar") else "dense"
    rule = PER_RULE[cell.rule] * cell.n * dimension(cell) / (51 * 79_510)
    # A narrower network is quicker as its number of parameters is smaller, roughly.
    size = dimension(cell) / 36_489_290 if kind == "wide" else 1.0
    return cell.steps * (size * PER_HONEST_WORKER[kind] * (cell.n - cell.f) + rule)


def seconds_from(folder: Path) -> tuple[Callable[[Run], float], Callable[[Run], str]]:
    """The device-seconds of a run, and where that figure comes from.

    A run counts as long as the median finished one in the folder of the same data set, rule, n, f
    and Nesterov setting on the same kind of device, in proportion to its steps. Without one, the
    table is read; it knows nothing of GPUs.
    """
    found = _finished(folder)

    def key(cell: Cell) -> tuple:
        return (cell.dataset, cell.rule, cell.n, cell.f, bool(cell.nesterov))

    def seconds(run: Run) -> float:
        cell = run.cell
        if key(cell) in found:
            return cell.steps * found[key(cell)][0]
        return from_table(cell)

    def source(run: Run) -> str:
        if key(run.cell) in found:
            return f"{found[key(run.cell)][1]} runs"
        return TABLE

    return seconds, source


def _finished(folder: Path) -> dict[tuple, tuple[float, int]]:
    """Median device-seconds a step and the number of runs, by what decides them."""
    if not Path(folder).is_dir():
        return {}
    runs = records.read_runs(folder)
    if runs.empty:
        return {}
    runs = runs[runs["device_platform"] == jax.default_backend()]
    pace = runs["wall_seconds"] * runs["num_devices"] / runs["steps"]
    grouped = pace.groupby([runs[name] for name in ("dataset", "rule", "n", "f", "nesterov")])
    return {
        (dataset, rule, n, f, bool(nesterov)): (median, count)
        for ((dataset, rule, n, f, nesterov), median), count in zip(
            grouped.median().items(), grouped.count(), strict=True
        )
    }
