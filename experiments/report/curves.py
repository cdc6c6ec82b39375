"""Curves small enough to embed: few points a run, 16 bits a point."""

import base64
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.distributed_momentum.analysis.run_table import STEP_COLUMNS
from simbyz.records.divergence import diverged_step

MOST_POINTS = 101
MISSING = 65535


class Metric(NamedTuple):
    """A quantity that the page can draw. A logarithmic one is averaged, and stored, as log10."""

    label: str
    logarithmic: bool = False


METRICS = {
    "accuracy": Metric("top-1 test accuracy"),
    "loss": Metric("loss, mean over honest workers", logarithmic=True),
    "honest_ratio": Metric("variance-norm ratio, honest vectors", logarithmic=True),
    "sampled_ratio": Metric("variance-norm ratio, sampled gradients", logarithmic=True),
    "cosine": Metric("cosine, honest mean to aggregate"),
    "distance": Metric("distance of the parameters from their start"),
}
# What of a run's steps is read.
COLUMNS = ["step", "accuracy", "cosine_honest_aggregate", *STEP_COLUMNS]


class Curves(NamedTuple):
    steps: np.ndarray  # (points,)
    values: dict[str, np.ndarray]  # (points,) by metric; NaN where not finite
    diverged: int | None  # the first step that is not finite


def curves_of(steps: pd.DataFrame) -> Curves:
    """The points of one run: its evaluations, thinned to at most `MOST_POINTS`.

    Accuracy is that of the evaluation. Of every other metric a point holds the mean over the steps
    from this point to the next; the last point tells of the state after the last step, where only
    accuracy and distance are known.
    """
    number, accuracy = steps["step"].to_numpy(), steps["accuracy"].to_numpy(np.float64)
    at = np.flatnonzero(np.isfinite(accuracy))
    if not at.size:
        at = np.arange(len(steps))
    every = -(-at.size // MOST_POINTS)
    at = np.union1d(at[::every], at[-1:])
    # What comes before the first point belongs to no point.
    blocks = np.diff(np.append(at, len(steps)))
    values = {"accuracy": accuracy[at]}
    with np.errstate(all="ignore"):  # a run that diverged is not finite, and shown as such
        for name, column in _by_step(steps).items():
            values[name] = np.add.reduceat(column, at) / blocks
    values = {
        name: np.where(np.isfinite(column), column, np.nan) for name, column in values.items()
    }
    diverged = diverged_step(steps["loss"].to_numpy(), steps["distance_from_start"].to_numpy())
    return Curves(number[at], values, None if diverged is None else int(number[diverged]))


def encode(columns: list[np.ndarray]) -> dict[str, str | float]:
    """Values of all runs, one after the other, as little-endian uint16 between their extremes.

    value = low + code / 65534 · (high - low); the code 65535 stands for no value.
    """
    values = np.concatenate(columns)
    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
    scale = (MISSING - 1) / (high - low) if high > low else 0.0
    codes = np.where(known, np.rint((np.where(known, values, low) - low) * scale), MISSING)
    text = base64.b64encode(codes.astype("<u2").tobytes()).decode()
    return {"low": float(low), "high": float(high), "codes": text}


def _by_step(steps: pd.DataFrame) -> dict[str, np.ndarray]:
    get = {name: steps[name].to_numpy(np.float64) for name in COLUMNS[2:]}

    def ratio(kind: str) -> np.ndarray:
        return 2 * (np.log10(get[f"{kind}_deviation"]) - np.log10(get[f"{kind}_norm"]))

    return {
        "loss": np.log10(get["loss"]),
        "honest_ratio": ratio("honest"),
        "sampled_ratio": ratio("sampled"),
        "cosine": get["cosine_honest_aggregate"],
        "distance": get["distance_from_start"],
    }
