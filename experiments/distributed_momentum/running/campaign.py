"""Many runs on several data sets, to the end: what is finished is not run again, what fails is told
and gone past.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from experiments.distributed_momentum.grid.programs import Run, programs
from experiments.distributed_momentum.running.simulate import code, is_finished, simulate
from experiments.shared.mixing import completed
from experiments.shared.progress import Progress
from simbyz.data import Dataset


class Failure(NamedTuple):
    name: str  # of the cell
    error: Exception


class Plan(NamedTuple):
    """Runs that a folder and a table leave to do."""

    todo: list[Run]
    on_disk: list[Run]
    recorded: list[Run]  # in the table, and not on disk


def plan(
    runs: Sequence[Run],
    folder: Path,
    recorded: frozenset[str] = frozenset(),
    with_parameters: bool = False,
) -> Plan:
    """Sort runs by whether they are done.

    Args:
      runs: those wanted.
      folder: need not exist.
      recorded: files of runs that count as done wherever they are.
      with_parameters: whether a run is done only where its trained parameters are there, too.
    """
    result = Plan([], [], [])
    for run in runs:
        if is_finished(folder, run, with_parameters):
            result.on_disk.append(run)
        elif run.file in recorded:
            result.recorded.append(run)
        else:
            result.todo.append(run)
    return result


def together(runs: Sequence[Run], folder: Path) -> pd.DataFrame:
    """The mixture that the folder will hold of these runs once all are run by the present code: a
    row a run, as `refuse_mixed` asks for.
    """
    todo = {run.file: run.cell.name for run in runs if not is_finished(folder, run)}
    return completed(todo, {run.file for run in runs}, folder, code())


def execute(
    todo: Plan,
    datasets: Mapping[str, Dataset],
    folder: Path,
    seconds: Callable[[Run], float],
    **options: Any,
) -> list[Failure]:
    """Run what is to do, program by program, with a bar over all of it, in estimated seconds;
    `options` are those of `simulate`.

    Returns:
      The cells that failed. A program that fails is tried again cell by cell.

    Raises:
      OSError: results can't be written: going on would be for nothing.
    """
    done = sum(map(seconds, todo.on_disk + todo.recorded))
    progress = Progress(done + sum(map(seconds, todo.todo)), done)
    failures = []
    try:
        for group in programs(todo.todo):
            failures += _execute(group, datasets, folder, seconds, progress, options)
    finally:
        progress.close()
    return failures


def _execute(
    runs: list[Run],
    datasets: Mapping[str, Dataset],
    folder: Path,
    seconds: Callable[[Run], float],
    progress: Progress,
    options: Mapping[str, Any],
) -> list[Failure]:
    cell = runs[0].cell
    counted = 0.0

    def tell(steps: int, text: str) -> None:
        nonlocal counted
        work = steps * seconds(runs[0]) / cell.steps
        counted += work
        progress.add(work, f"{cell.dataset}: {text}")

    try:
        simulate(runs, datasets[cell.dataset], folder, tell, **options)
        return []
    except OSError:
        raise
    except Exception as error:  # whatever it is, the other cells are worth running
        progress.add(-counted, "failed")
        with_parameters = options.get("save_parameters", False)
        left = [run for run in runs if not is_finished(folder, run, with_parameters)]
        progress.add(sum(seconds(run) for run in runs if run not in left), "failed")
        cells = list(dict.fromkeys(run.cell for run in left))
        if len(cells) == 1 and len(left) == len(runs):
            return [Failure(cells[0].name, error)]
        failures = []
        for one in cells:
            alone = [run for run in left if run.cell == one]
            failures += _execute(alone, datasets, folder, seconds, progress, options)
        return failures
