"""Runs of the grid without their computation: files as a run leaves them, and rows of the table."""

import numpy as np

from experiments.distributed_momentum.commands.grid import Options
from experiments.distributed_momentum.grid.programs import Run
from simbyz import records

STEPS = 4

# Two rules at both places, two seeds: eight runs.
FEW = Options(
    dataset=("mnist",),
    rule=("median", "trmean"),
    attack=("little",),
    f=(24,),
    learning_rate=(0.5,),
    nesterov=("off",),
    seeds=(1, 2),
)
FEW_ARGUMENTS = (
    "--dataset mnist --rule median trmean --attack little --f 24 --learning-rate 0.5 "
    "--nesterov off --seeds 1 2"
).split()


def columns(highest: float, diverges_at: int | None = None) -> dict[str, np.ndarray]:
    """Steps of a run with the given highest accuracy."""
    rows = STEPS + 1
    result = {
        "step": np.arange(rows),
        "loss": np.linspace(2.0, 1.0, rows),
        "accuracy": np.append(np.full(STEPS, np.nan), highest),
        "distance_from_start": np.arange(rows, dtype=float),
        "aggregate_norm": np.full(rows, 1.0),
        "cosine_honest_aggregate": np.full(rows, 0.5),
    }
    for kind, deviation in (("sampled", 2.0), ("honest", 3.0)):
        result[f"{kind}_deviation"] = np.full(rows, deviation)
        result[f"{kind}_norm"] = np.full(rows, 0.5 * deviation)
    result["loss"][-1] = np.nan
    if diverges_at is not None:
        for name in ("loss", "honest_norm", "aggregate_norm"):
            result[name][diverges_at:] = np.nan
    return result


def write(
    folder, run: Run, highest: float, diverges_at: int | None = None, code: str | None = None
) -> None:
    """The file of a finished run; without code, as from before it was recorded."""
    summary = {
        "highest_accuracy": highest,
        "final_accuracy": highest,
        "mean_log_honest_ratio": 0.0,
        "wall_seconds": 1.5,
        "num_devices": 1,
        "device_platform": "cpu",
        "device_kind": "cpu",
        "simbyz_version": "0.1.0",
        "jax_version": "0",
        "time_utc": "",
        "notice": "",
    }
    if code is not None:
        summary["code_digest"] = code
    configuration = run.cell.configuration(run.seed)
    records.write_run(folder, run.cell.name, configuration, columns(highest, diverges_at), summary)
