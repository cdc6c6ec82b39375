"""From runs to ByzFL's table: the choice by the worst attack, each run at its best evaluation.

A run is judged by the mean over seeds of its accuracy at each evaluation, at the largest of these
means: an early stop that nobody asked for, hence the accuracy at the end beside it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.from_byzfl.runs import Run
from simbyz.records.divergence import diverged_step

CELL = ("honest", "tolerated", "scheme", "heterogeneity", "pre", "rule", "f")
SETTING = ("learning_rate", "momentum", "weight_decay")
COLUMNS = ["loss", "accuracy", "validation_accuracy", "distance_from_start"]


def table_of(runs: Sequence[Run], steps: pd.DataFrame, digests: dict[str, str]) -> pd.DataFrame:
    """One row a defence, f and heterogeneity.

    setting* = argmax over settings of min over attacks of max over evaluations of the mean over
    seeds of the validation accuracy; the first of equal ones, and the first of all without a
    validation split. Then, at setting*: `test_accuracy`, the least over attacks of the largest over
    evaluations of the mean over seeds, with the attack's name and the deviation over seeds there;
    `final_accuracy`, the least over attacks after the last step; `training_loss`, the largest over
    attacks of the least over steps of the mean loss, infinite where a loss is not finite;
    `diverged`, how many runs of all attacks stopped being finite.

    Args:
      runs: of one file.
      steps: theirs, with `COLUMNS`.
      digests: of the configuration of each run, by its file.
    """
    columns = {
        digest: {name: some[name].to_numpy() for name in COLUMNS}
        for digest, some in steps.groupby("digest", observed=True, sort=False)
    }
    cells: dict[tuple, dict[tuple, dict[str, list[dict]]]] = {}
    for run in runs:
        values = run.configuration
        cell, setting = (tuple(values[name] for name in names) for names in (CELL, SETTING))
        attacks = cells.setdefault(cell, {}).setdefault(setting, {})
        attacks.setdefault(run.attack_label, []).append(columns[digests[run.file]])
    rows = []
    for cell, settings in cells.items():
        validation = {
            setting: min(peak(some, "validation_accuracy")[0] for some in attacks.values())
            for setting, attacks in settings.items()
        }
        # Without a validation split all are -1: the first.
        best = max(validation, key=lambda setting: validation[setting])
        rows.append(
            dict(zip(CELL, cell, strict=True))
            | dict(zip(SETTING, best, strict=True))
            | {"validation_accuracy": validation[best]}
            | judged(settings[best])
        )
    return pd.DataFrame(rows)


def judged(attacks: dict[str, list[dict]]) -> dict[str, object]:
    """What the runs of one setting gave, under the worst attack."""
    peaks = {attack: peak(some, "accuracy") for attack, some in attacks.items()}
    worst = min(peaks, key=lambda attack: peaks[attack][0])
    return {
        "test_accuracy": peaks[worst][0],
        "deviation": peaks[worst][1],
        "worst_attack": worst,
        "final_accuracy": min(
            float(np.mean([one["accuracy"][-1] for one in some])) for some in attacks.values()
        ),
        "training_loss": max(least_loss(some) for some in attacks.values()),
        "seeds": len(attacks[worst]),
        "diverged": sum(
            diverged_step(one["loss"], one["distance_from_start"]) is not None
            for some in attacks.values()
            for one in some
        ),
    }


def peak(runs: list[dict], column: str) -> tuple[float, float]:
    """The largest mean over seeds, and the deviation there; -1 where nothing was evaluated."""
    evaluated = np.stack([one[column] for one in runs])
    evaluated = evaluated[:, ~np.isnan(evaluated).all(axis=0)]
    if not evaluated.size:
        return -1.0, np.nan
    means = evaluated.mean(axis=0)
    best = int(np.argmax(means))
    deviation = evaluated[:, best].std(ddof=1) if len(runs) > 1 else np.nan
    return float(means[best]), float(deviation)


def least_loss(runs: list[dict]) -> float:
    losses = np.mean([one["loss"][:-1] for one in runs], axis=0)
    return float(np.min(losses)) if np.isfinite(losses).all() else np.inf
