"""A folder's runs together with those that are to come."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.running.simulate import code, is_finished
from experiments.shared.mixing import completed


def together(runs: Sequence[Run], folder: Path) -> pd.DataFrame:
    """The mixture that the folder will hold of these runs once all are run by the present code.

    Returns:
      A row a run, as `refuse_mixed` asks for.
    """
    todo = {run.file: run.cell.name for run in runs if not is_finished(folder, run)}
    return completed(todo, {run.file for run in runs}, folder, code())
