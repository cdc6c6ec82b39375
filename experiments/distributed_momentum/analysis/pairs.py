"""Pairs, as the paper counts, for each attacked configuration and seed: the unattacked run (ref),
the attacked one with momentum at the update (upd), and with momentum at the workers (wrk).
"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from experiments.distributed_momentum.analysis.bootstrap import Share, share
from experiments.distributed_momentum.grid.cells import paper_cells
from experiments.distributed_momentum.grid.settings import PAPER

EFFECTIVE = (0.1, 0.2, 0.4)
LOST = (0.0, 0.02, 0.05)
STAYS_BELOW = (0.05, 0.1)
SEEDS = 5  # of the paper
KEY = ["dataset", "attack", "rule", "conventions", "n", "f", "nesterov", "learning_rate", "seed"]


def appendix(runs: pd.DataFrame) -> pd.Series:
    return runs["name"].str.contains("-lr_pow", regex=False)


class Subset(NamedTuple):
    label: str
    datasets: Sequence[str] = tuple(PAPER)
    f: int | None = None  # any if None

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those of the rows, which have a dataset and an f."""
        rows = rows[rows["dataset"].isin(list(self.datasets))]
        return rows if self.f is None else rows[rows["f"] == self.f]


def subsets() -> list[Subset]:
    """Everything; the released program's nine; and each data set at each f."""
    return [
        Subset("everything"),
        Subset("mnist, both", ("mnist", "fashion_mnist")),
        Subset("cifar, both", ("cifar10", "cifar100")),
        *(Subset(name, (name,)) for name in PAPER),
        *(Subset(f"f = {f}", f=f) for f in (24, 12, 11, 5)),
        *(Subset(f"{name}, f = {f}", (name,), f) for name in PAPER for f in PAPER[name].f),
    ]


def pairs_of(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a configuration and seed of which all three runs are there.

    Returns:
      The columns of KEY; ref, upd, wrk, the highest accuracies; loss = ref - upd; gain = wrk - upd;
      `ratio_reduction`, the mean log honest variance-norm ratio at the update minus that at the
      workers; `by_momentum` and `deviation_by_momentum`, in the run with momentum at the workers,
      the mean log ratio (and deviation) of what is sent minus that of the sampled gradients;
      `diverged`, whether one of the three runs did.
    """
    # A name beside the grid (fewer steps, say) has no counterpart here.
    runs = runs[runs["in_paper"] | (runs["unusual"] == "published")]
    runs = runs[runs["dataset"].isin(list(PAPER)) & ~appendix(runs)]
    honest = runs.assign(honest=runs["n"] - runs["f"])
    reference = honest[honest["attack"] == "none"]
    on = ["dataset", "honest", "nesterov", "learning_rate", "seed"]
    reference = reference[[*on, "highest_accuracy", "diverged_step"]].rename(
        columns={"highest_accuracy": "ref", "diverged_step": "diverged_step_ref"}
    )
    attacked = honest[honest["attack"] != "none"]
    update = attacked[attacked["momentum_at"] == "update"]
    worker = attacked[attacked["momentum_at"] == "worker"]
    both = update.merge(worker, on=[*KEY, "honest"], suffixes=("_upd", "_wrk"))
    both = both.merge(reference, on=on)
    pairs = both[KEY].assign(
        ref=both["ref"],
        upd=both["highest_accuracy_upd"],
        wrk=both["highest_accuracy_wrk"],
        ratio_reduction=both["mean_log_honest_ratio_upd"] - both["mean_log_honest_ratio_wrk"],
        by_momentum=both["mean_log_honest_ratio_wrk"] - both["mean_log_sampled_ratio_wrk"],
        deviation_by_momentum=both["mean_log_honest_deviation_wrk"]
        - both["mean_log_sampled_deviation_wrk"],
        diverged=both[[f"diverged_step_{run}" for run in ("ref", "upd", "wrk")]]
        .notna()
        .any(axis=1),
    )
    return pairs.assign(loss=pairs["ref"] - pairs["upd"], gain=pairs["wrk"] - pairs["upd"])


def subsets_of(pairs: pd.DataFrame) -> list[tuple[Subset, pd.DataFrame]]:
    """The subsets that have any pair, and their pairs."""
    parts = [(subset, subset.of(pairs)) for subset in subsets()]
    return [(subset, part) for subset, part in parts if len(part)]


def expected(subset: Subset) -> int:
    """How many pairs the whole grid has in a subset."""
    cells = [cell for name in PAPER for cell in paper_cells(name)]
    counted = [cell for cell in cells if cell.attack != "none" and cell.momentum_at == "worker"]
    rows = pd.DataFrame([{"dataset": cell.dataset, "f": cell.f} for cell in counted])
    return len(subset.of(rows)) * SEEDS


def expected_runs(dataset: str) -> int:
    return len(paper_cells(dataset)) * SEEDS


def counts(pairs: pd.DataFrame) -> dict[str, Share]:
    """The counts that the released program prints of a subset's pairs, each with its interval.

    effective_x: loss > x, of all. gain_above_x and positive_x: gain > x and gain > 0, of those
    where the attack is effective at x. lost_x: gain < -x, of all. below_x: those that lost (gain <
    0) and stay more than x below the unattacked run, of all.
    """
    result = {}
    everything = pd.Series(True, index=pairs.index)
    for x in EFFECTIVE:
        effective = pairs["loss"] > x
        result[f"effective_{x:g}"] = share(effective, everything, pairs["seed"])
        result[f"gain_above_{x:g}"] = share(
            effective & (pairs["gain"] > x), effective, pairs["seed"]
        )
        result[f"positive_{x:g}"] = share(effective & (pairs["gain"] > 0), effective, pairs["seed"])
    for x in LOST:
        result[f"lost_{x:g}"] = share(pairs["gain"] < -x, everything, pairs["seed"])
    for x in STAYS_BELOW:
        stays = (pairs["gain"] < 0) & (pairs["ref"] - pairs["wrk"] > x)
        result[f"below_{x:g}"] = share(stays, everything, pairs["seed"])
    return result
