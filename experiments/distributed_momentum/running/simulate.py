"""Cells and seeds to finished runs on disk, one compiled program for all runs that can share it."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.distributed_momentum.grid.cells import Cell
from experiments.distributed_momentum.grid.footprint import refuse_large, width_of
from experiments.distributed_momentum.grid.programs import (
    Run,
    hyperparameters_of,
    programs,
    simulator_of,
    task_of,
)
from experiments.distributed_momentum.grid.rules import bound_of
from experiments.shared.options.command_line import CHECKPOINT_EVERY
from simbyz import records
from simbyz.data import Dataset
from simbyz.records.divergence import diverged_step
from simbyz.records.provenance import code_digest, provenance
from simbyz.simulator.certificates import summarise
from simbyz.simulator.metrics import log_ratio
from simbyz.sweeps import Lane, Result, sweep
from simbyz.sweeps.checkpoints import Checkpoints, discard

CHECKPOINTS = "checkpoints"  # the folder of theirs, in that of results


def check(cells: Iterable[Cell], dataset: Dataset) -> None:
    """Trace a step of every program, so that a bad (rule, n, f) or batch size fails before any is
    computed.

    Raises:
      ValueError: by the rule or the configuration that refuses, or too little memory.
    """
    for group in programs(Run(cell, 0) for cell in cells):
        cell = group[0].cell
        refuse_large(cell)
        task = task_of(cell, dataset)
        simulator = simulator_of(cell, task)
        key = jax.eval_shape(lambda: jax.random.key(0))
        state = jax.eval_shape(simulator.initialise, key)
        rows = jax.ShapeDtypeStruct((cell.n - cell.f, state.parameters.size), jnp.float32)
        losses = jax.ShapeDtypeStruct(rows.shape[:1], jnp.float32)
        jax.eval_shape(simulator.apply, state, hyperparameters_of(cell), key, 0, rows, losses)


def simulate(
    runs: Sequence[Run],
    dataset: Dataset,
    folder: Path,
    progress: Callable[[int, str], None] = lambda steps, text: None,
    *,
    checkpoint_every: float = CHECKPOINT_EVERY,
    save_parameters: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Compute the runs that the folder does not hold yet, and write each as soon as it is finished.

    What a process that died had under way goes on from its checkpoint, in `checkpoints` below the
    folder, and ends with the same bits.

    Args:
      runs: cells and seeds on this data set.
      dataset: the data.
      folder: of results.
      progress: told the steps done since the last call, and what goes on.
      checkpoint_every: seconds between two checkpoints, at least; inf for none but before a stop.
      save_parameters: also keep what each run trained, for `records.read_parameters`; a run on disk
        without is computed again.
      stop: asked after each chunk of steps whether to stop.

    Raises:
      Stopped: `stop` said so.
    """
    folder = Path(folder)  # a notebook may give text
    checkpoints = Checkpoints(
        folder / CHECKPOINTS,
        checkpoint_every,
        {"code_digest": code()},
        lambda file: records.is_whole(folder / file),
    )
    discard(checkpoints.folder, checkpoints.finished)
    for group in programs(runs):
        todo = [run for run in group if not is_finished(folder, run, save_parameters)]
        done = sum(run.cell.steps for run in group if run not in todo)
        progress(done, "found on disk")
        if not todo:
            continue
        cell = todo[0].cell
        task = task_of(cell, dataset)
        width = width_of(cell)
        simulator = simulator_of(cell, task, shared=True)
        # Rules, without and with Nesterov, one after the other: a round of lanes takes one branch.
        branches = dict.fromkeys((run.cell.rule, run.cell.nesterov) for run in todo)
        for rule, nesterov in sorted(branches):
            some = [run for run in todo if (run.cell.rule, run.cell.nesterov) == (rule, nesterov)]
            progress(0, f"compiling {rule}")
            numbers = [hyperparameters_of(run.cell, shared=True) for run in some]
            lanes = [Lane(run.seed, own, run.file) for run, own in zip(some, numbers, strict=True)]
            with jax.default_matmul_precision("float32" if cell.precision == "float32" else None):
                for result in sweep(
                    simulator,
                    lanes,
                    task.data,
                    steps=cell.steps,
                    width=width,
                    look_ahead=nesterov,
                    progress=functools.partial(_tell, progress, rule),
                    checkpoints=checkpoints,
                    stop=stop,
                ):
                    run = some[result.index]
                    if save_parameters:  # first: a run on disk is finished
                        trained = {
                            "parameters": simulator.unravel(jnp.asarray(result.parameters)),
                            "model_state": result.model_state,
                        }
                        where = folder, run.cell.name, run.cell.configuration(run.seed)
                        records.write_parameters(*where, trained)
                    _write(folder, run, result, dataset.notice, width)


def _write(folder: Path, run: Run, result: Result, notice: str, width: int) -> None:
    """The run's file."""
    cell = run.cell
    summary = summary_of(result) | provenance() | {"notice": notice, "code_digest": code()}
    summary |= {"wall_seconds": result.seconds, "vmap_width": width}
    if cell.certify:
        summary |= summarise(result.columns, bound_of(cell.rule, cell.n, cell.f))
    records.write_run(folder, cell.name, cell.configuration(run.seed), result.columns, summary)


def _tell(progress: Callable[[int, str], None], rule: str, steps: int, accuracy: float) -> None:
    progress(steps, rule if math.isnan(accuracy) else f"{rule}, accuracy {accuracy:.3f}")


def code() -> str:
    """The digest of the code that decides a run's numbers."""
    grid = Path(__file__).parents[1] / "grid"
    return code_digest(*grid.glob("*.py"), Path(__file__))


def is_finished(folder: Path, run: Run, with_parameters: bool = False) -> bool:
    where = folder, run.cell.name, run.cell.configuration(run.seed)
    kept = not with_parameters or records.has_parameters(*where)
    return kept and records.is_finished(*where)


def summary_of(result: Result) -> dict[str, float | None]:
    """A run in a few numbers; logarithms are natural, means are over steps. `diverged_step` is None
    where all is finite.
    """
    columns = result.columns
    accuracy = columns["accuracy"][np.isfinite(columns["accuracy"])]

    def mean_log_ratio(kind: str) -> float:
        ratios = log_ratio(columns[f"{kind}_deviation"][:-1], columns[f"{kind}_norm"][:-1])
        return float(np.mean(ratios))

    return {
        "highest_accuracy": float(accuracy.max()),
        "final_accuracy": float(accuracy[-1]),
        "mean_log_sampled_ratio": mean_log_ratio("sampled"),
        "mean_log_honest_ratio": mean_log_ratio("honest"),
        "diverged_step": diverged_step(columns["loss"], columns["distance_from_start"]),
    }
