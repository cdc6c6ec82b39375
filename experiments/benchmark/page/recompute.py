"""Random runs of a kept table, computed again: they must be the same to the last bit.

python -m experiments.benchmark.page.recompute mnist 20       # data set, how many; the time of them
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.benchmark.results import OUTCOME, Results, kept_tables
from experiments.benchmark.runs import FIELDS, Run
from experiments.benchmark.simulate import simulate
from simbyz.data import load


def recompute(name: str, count: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows as they are kept, and as they come out now: of `FIELDS` and `OUTCOME`."""
    table = kept_tables()[name]
    places = np.random.default_rng(seed).choice(len(table), count, replace=False)
    kept = table.loc[sorted(places), [*FIELDS, *OUTCOME]].reset_index(drop=True)
    runs = [Run(**row) for row in kept[list(FIELDS)].to_dict("records")]
    with tempfile.TemporaryDirectory() as folder:
        results = Results(Path(folder))
        simulate(runs, runs, load(name), results)
        return kept, results.of(runs)[[*FIELDS, *OUTCOME]]


def command(name: str, count: str, seed: str = "0") -> int:
    """Says how many are the same; 1 if one is not."""
    kept, now = recompute(name, int(count), int(seed))
    same = (kept == now).all(axis=1) | kept.isna().any(axis=1) & now.isna().any(axis=1)
    print(f"{same.sum()} of {len(kept)} runs of {name} are the same to the last bit")
    print(kept[~same].to_string() if not same.all() else "")
    return int(not same.all())


if __name__ == "__main__":
    sys.exit(command(*sys.argv[1:]))
