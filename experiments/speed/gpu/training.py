"""The first steps of runs on the device beside the same steps on the CPU."""

import time
from collections.abc import Iterator

import jax
import numpy as np

from experiments.distributed_momentum.grid.cells import Cell
from experiments.distributed_momentum.grid.programs import hyperparameters_of, simulator_of, task_of
from experiments.speed.gpu.journal import Result
from experiments.speed.gpu.sizes import Sizes, cell_of, images_of
from simbyz.data import Dataset
from simbyz.sweeps import Lane, sweep

# Of the parameters, relative to the way from their start; of a column, to its largest value.
TOLERANCE = 1e-4
# Accuracies are of so many images: one that a hair decides may fall on either side.
ACCURACY = 5e-4


def check(sizes: Sizes, until: float) -> Iterator[Result]:
    """One result a rule and precision of products; held to the tolerance where they are float32.

    The CPU always computes in float32: what TF32 is apart by is told, and not judged.
    """
    device, reference = jax.devices()[0], jax.devices("cpu")[-1]
    images = images_of(sizes.dataset)
    for rule in sizes.rules:
        if time.monotonic() > until:
            return
        cell = cell_of(sizes, rule, steps=sizes.steps)
        wanted = _run(cell, images, reference, "float32")
        for precision in ("float32", None):
            got = _run(cell, images, device, precision)
            result = compare(got, wanted)
            if precision is None:
                del result["holds"]
            yield {
                "what": f"{cell.dataset}, {rule}, {cell.steps} steps",
                "products": precision or "usual",
            } | result


def _run(
    cell: Cell, images: Dataset, device: jax.Device, precision: str | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns (steps + 1,) of a run, and its final parameters (d,)."""
    with jax.default_device(device), jax.default_matmul_precision(precision):
        # A simulator of its own: a program is kept by simulator and device, not by precision.
        task = task_of(cell, images)
        lane = Lane(1, hyperparameters_of(cell))
        (result,) = sweep(
            simulator_of(cell, task), [lane], task.data, steps=cell.steps, width=1, devices=[device]
        )
    return result.columns, result.parameters


def compare(
    got: tuple[dict[str, np.ndarray], np.ndarray], wanted: tuple[dict[str, np.ndarray], np.ndarray]
) -> Result:
    """How far two runs are apart, and whether that is within the tolerances."""
    columns = {
        name: _apart(got[0][name], values)
        for name, values in wanted[0].items()
        if name != "accuracy"
    }
    worst = max(columns, key=lambda name: columns[name])
    accuracy = float(np.nanmax(np.abs(got[0]["accuracy"] - wanted[0]["accuracy"])))
    way = float(wanted[0]["distance_from_start"][-1])
    parameters = float(np.linalg.norm(got[1] - wanted[1])) / way
    return {
        "parameters": parameters,
        "worst_column": worst,
        "column": columns[worst],
        "accuracy": accuracy,
        "loss_at_the_end": float(got[0]["loss"][-2]),
        "holds": parameters <= TOLERANCE
        and columns[worst] <= TOLERANCE
        and accuracy <= ACCURACY + 1e-7,
    }


def _apart(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, in units of the largest value; inf if NaN stands elsewhere."""
    finite = np.isfinite(wanted)
    if not np.array_equal(np.where(finite, 0, got), np.where(finite, 0, wanted), equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    values = np.abs(wanted[finite]).astype(np.float64)
    apart = np.abs(got[finite].astype(np.float64) - wanted[finite])
    return float(np.max(apart) / max(np.max(values), np.finfo(np.float32).tiny))
