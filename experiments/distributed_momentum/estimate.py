"""What a run costs, before it is run: time from finished runs or from a small table, memory by
arithmetic.
"""

import functools
import math
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from experiments.distributed_momentum.cells import Cell
from experiments.distributed_momentum.simulate import Run, lanes_per_device, network_of
from simbyz import records
from simbyz.data.datasets import PREPROCESSING

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
# height, width, channels; training and test images
IMAGES = {
    "digits": ((8, 8, 1), 1797),
    "mnist": ((28, 28, 1), 70_000),
    "fashion_mnist": ((28, 28, 1), 70_000),
    "cifar10": ((32, 32, 3), 60_000),
    "cifar100": ((32, 32, 3), 60_000),
}
TEST_BATCH = 1000


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


def memory_of(cell: Cell, width: int, platform: str) -> float:
    """Bytes on a device, at least: `width` runs at once, and the data set.

    A run keeps the n sent vectors, the gradients of the h honest workers, their momenta before and
    after a step, the curvature's window and some ten single vectors; besides, what the network
    keeps of the images in work.
    """
    honest, d = cell.n - cell.f, dimension(cell)
    shape, images = IMAGES[cell.dataset]
    vectors = cell.n + 3 * honest + cell.curvature_window + 10
    one_by_one = platform == "cpu" and cell.dataset.startswith("cifar")
    in_work = cell.batch_size * (1 if one_by_one else honest)
    kept, largest = _activations(cell)
    floats = vectors * d + kept * in_work + 3 * largest * TEST_BATCH
    return 4 * width * floats + images * math.prod(shape)


def width_of(cell: Cell) -> int:
    return lanes_per_device(jax.default_backend())


@functools.cache
def dimension(cell: Cell) -> int:
    shape, _ = IMAGES[cell.dataset]
    classes = PREPROCESSING[cell.dataset]["num_classes"]
    module = network_of(cell, shape[-1], classes)
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def _activations(cell: Cell) -> tuple[int, int]:
    """Floats that a gradient keeps of an image, and the largest layer's, counted by hand."""
    if cell.depth:
        blocks, width = (cell.depth - 4) // 6, cell.width
        layers = [(16 * width * 1024), (32 * width * 256), (64 * width * 64)]
        return sum(6 * blocks * size for size in layers), layers[0]
    if cell.dataset.startswith("cifar"):
        return 6 * 64 * 1024 + 6 * 128 * 256, 64 * 1024
    return 1100, 784


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
