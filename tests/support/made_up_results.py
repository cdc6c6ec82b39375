"""Results of the momentum experiment that no training made: what tests of reading them need."""

import numpy as np

from experiments.distributed_momentum.grid.cells import cells
from simbyz import records
from simbyz.simulator.metrics import Metrics

STEPS = 20
DIVERGES_AT = 7
DIVERGED = f"mnist-empire-krum-f_12-lr_0.5-at_update-steps_{STEPS}"  # with seed 2


def write(folder, cell, seed, highest, *, diverges=False):
    """A finished run whose columns are made up: accuracy climbs evenly to `highest`."""
    steps = np.arange(cell.steps + 1)
    columns = {name: np.ones(steps.size, np.float32) for name in Metrics._fields if name != "own"}
    columns["step"] = steps.astype(np.int32)
    columns["accuracy"] = np.where(
        steps % cell.evaluate_every == 0, highest * steps / cell.steps, np.nan
    ).astype(np.float32)
    columns["loss"] = np.exp(-steps / 10).astype(np.float32)
    columns["loss"][-1] = np.nan
    if diverges:
        columns["loss"][DIVERGES_AT:] = np.nan
        columns["distance_from_start"][DIVERGES_AT:] = np.inf
    summary = {"highest_accuracy": highest, "final_accuracy": highest}
    return records.write_run(folder, cell.name, cell.configuration(seed), columns, summary)


def grid(dataset):
    return cells(dataset, rules=["krum", "median"], f=[12], nesterov=[False, True], steps=STEPS)


def fill(folder):
    """Two data sets, two rules, two attacks, with and without Nesterov, two places, two seeds.

    Median gains 30 points and krum 10 from momentum at the workers; one run diverges.
    """
    for dataset in ("mnist", "fashion_mnist"):
        for cell in grid(dataset):
            for seed in (1, 2):
                highest = 0.9 if cell.attack == "none" else 0.4 + 0.01 * seed
                if cell.momentum_at == "worker":
                    highest += 0.3 if cell.rule == "median" else 0.1
                diverges = (seed, cell.name) == (2, DIVERGED)
                write(folder, cell, seed, highest, diverges=diverges)
    return folder
