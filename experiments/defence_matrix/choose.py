"""From runs to the matrix: the max-min choice of hyperparameters, and what it gives on the test
set.
"""

import numpy as np
import pandas as pd

CELL = ["rule", "pre", "f", "heterogeneity"]
SETTING = ["learning_rate", "momentum", "weight_decay"]
CERTIFIED = {
    "largest_coefficient": "max",
    "coefficient_bound": "max",
    "certified_share": "mean",
    "mean_acceptance": "mean",
    "mean_distance": "mean",
}


def matrix(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a rule, pre-aggregator, f and heterogeneity.

    setting* = argmax over settings of min over attacks of the validation accuracy, which is a mean
    over seeds; the earlier of equal settings, in the order of the runs. Then, of the runs at
    setting*: `test_accuracy` is the least over attacks of the mean over seeds, `worst_attack` and
    `deviation` (over seeds) are of that attack, `training_loss` is the largest over attacks, and
    `diverged` the number of runs, of all attacks, whose loss or parameters stopped being finite. A
    run whose loss is not a number counts as one of infinite loss. Of certified runs, over attacks
    and seeds: the largest realised coefficient, and means of the other certificates.

    Reference: ByzFL's benchmark chooses so; it takes each run at the best of its evaluations, here
      the end counts.
    """
    runs = runs.assign(training_loss=runs["training_loss"].fillna(np.inf))
    runs = runs.assign(lost=~np.isfinite(runs["training_loss"]))
    if "diverged_step" in runs:
        runs["lost"] |= runs["diverged_step"].notna()
    # A folder may hold certified runs beside these: then the columns are there, and empty.
    certified = CERTIFIED if "certify" in runs and runs["certify"].eq(True).all() else {}
    rows = []
    for cell, group in runs.groupby(CELL, sort=False):
        best = None
        for setting, part in group.groupby(SETTING, sort=False):
            by_attack = part.groupby("attack", sort=False)
            validation = by_attack["validation_accuracy"].mean().min()
            if best is not None and validation <= best["validation_accuracy"]:
                continue
            test = by_attack["test_accuracy"].mean()
            attack = test.idxmin()
            best = dict(zip(SETTING, setting, strict=True)) | {
                "validation_accuracy": validation,
                "test_accuracy": test[attack],
                "deviation": by_attack["test_accuracy"].std(ddof=1)[attack],
                "worst_attack": attack,
                "training_loss": by_attack["training_loss"].mean().max(),
                "seeds": part["seed"].nunique(),
                "diverged": int(part["lost"].sum()),
                **{name: part[name].agg(how) for name, how in certified.items()},
            }
        rows.append(dict(zip(CELL, cell, strict=True)) | (best or {}))
    return pd.DataFrame(rows)


def best_defences(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the matrix whose validation accuracy is the best of all defences, one an f and
    heterogeneity.
    """
    groups = table.groupby(["f", "heterogeneity"], sort=False)["validation_accuracy"]
    return table.loc[groups.idxmax()].reset_index(drop=True)
