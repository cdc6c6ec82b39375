"""Cells and seeds to finished runs on disk, one compiled program for all runs that can share it."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.distributed_momentum.cells import Cell
from experiments.distributed_momentum.footprint import network_of, width_of
from experiments.distributed_momentum.rules import bound_of, rule_of, selection_of
from experiments.distributed_momentum.settings import PAPER
from simbyz import attacks, moments, records
from simbyz.certificates import summarise
from simbyz.checkpoints import Checkpoints, discard
from simbyz.configuration import Place
from simbyz.data import Dataset
from simbyz.divergence import diverged_step
from simbyz.metrics import log_ratio
from simbyz.provenance import code_digest, provenance
from simbyz.sweep import Lane, Result, sweep
from simbyz.task import Task, classification
from simbyz.training import Config, Hyperparameters, Momentum, Simulator, make_simulator

# A larger share of the curvature than this is not left out by dropping its window (see `_window`).
NEGLIGIBLE = 1e-6
CHECKPOINTS = "checkpoints"  # the folder of theirs, in that of results
CHECKPOINT_EVERY = 60.0


class Run(NamedTuple):
    cell: Cell
    seed: int

    @property
    def file(self) -> str:
        """The name of its file of results, which no other run has."""
        return records.run_path("", self.cell.name, self.cell.configuration(self.seed)).name


def little_or_empire(
    key: jax.Array, honest: jax.Array, num_byzantine: int, *, mean: float, deviation: float
) -> jax.Array:
    """mean · (honest mean) + deviation · (honest deviation): both attacks of the paper, by two
    numbers.

    So that one compiled program runs both. A little is enough with factor k is (1, k), fall of
    empires with factor k is (1 - k, 0).
    """
    del key
    row = mean * moments.mean(honest) + deviation * jnp.sqrt(moments.variance(honest))
    return jnp.broadcast_to(row, (num_byzantine, *row.shape))


ATTACKS: dict[str, tuple[Callable | None, dict[str, float | jax.Array]]] = {
    "none": (None, {}),
    "little": (little_or_empire, {"mean": 1.0, "deviation": -1.5}),
    "empire": (little_or_empire, {"mean": 1 - 1.1, "deviation": 0.0}),
    "nan": (attacks.nan, {}),
}


def programs(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs grouped by the compiled program that they share."""
    groups: dict[Cell, list[Run]] = {}
    for run in runs:
        cell = run.cell
        program = dataclasses.replace(
            cell,
            attack="little" if cell.attack == "empire" else cell.attack,
            momentum_at="worker" if cell.momentum_at == "update" else cell.momentum_at,
            nesterov=cell.nesterov and not _both_in_one(cell),
            refresh=None,
            learning_rate=0.0,
            momentum=0.0,
            l2=0.0,
            clip=0.0,
            unusual=(),
            curvature_window=_window(cell) or 0,
        )
        groups.setdefault(program, []).append(run)
    return list(groups.values())


def simulator_of(cell: Cell, task: Task, *, shared: bool = False) -> Simulator:
    """The simulator of a cell; shared: that of all cells of its program, with and without Nesterov,
    to be told whether to look ahead.
    """
    attack, _ = ATTACKS[cell.attack]
    chosen = (cell.rule, cell.n, cell.f, cell.conventions)
    return make_simulator(
        Config(
            n=cell.n,
            f=cell.f,
            momentum_at=_places(cell),
            nesterov=cell.nesterov or (shared and _both_in_one(cell)),
            evaluate_every=cell.evaluate_every,
            curvature_window=_window(cell),
            workers_at_once=workers_at_once(cell),
            certify=cell.certify,
        ),
        task,
        rule_of(*chosen),
        attack,
        selection=selection_of(*chosen, every=cell.certify),
        schedule=schedule_of(cell),
    )


def schedule_of(cell: Cell) -> Callable[..., jax.Array]:
    """The factor of the learning rate at a step: by drops, or the paper's decay."""

    def by_drops(step: jax.Array) -> jax.Array:
        factor = jnp.float32(1)
        for first, lower in cell.drops:
            factor = jnp.where(step >= first, lower, factor)
        return factor

    def by_decay(step: jax.Array, *, refresh: jax.Array) -> jax.Array:
        return 1 / (1 + step // refresh * refresh / cell.decay)

    return by_drops if cell.drops else by_decay


def hyperparameters_of(cell: Cell) -> Hyperparameters:
    momentum: dict[str, Any] = {cell.momentum_at: Momentum(cell.momentum)}
    _, options = ATTACKS[cell.attack]
    # Refreshed after the last step only, a rate is constant: one program for all rates.
    refresh = cell.steps if cell.refresh is None else cell.refresh
    return Hyperparameters(
        learning_rate=cell.learning_rate,
        clip=cell.clip,
        l2=cell.l2,
        attack=options,
        schedule={} if cell.drops else {"refresh": refresh},
        **momentum,
    )


def task_of(cell: Cell, dataset: Dataset) -> Task:
    """The data set with the paper's network for it."""
    module = network_of(cell, dataset.train_images.shape[-1], dataset.num_classes)
    dtype = jnp.bfloat16 if cell.precision == "bfloat16" else None
    return classification(dataset, module, batch_size=cell.batch_size, dtype=dtype)


def check(cells: Iterable[Cell], dataset: Dataset) -> None:
    """Trace a step of every program, so that a bad (rule, n, f) or batch size fails before any is
    computed.

    Raises:
      ValueError: by the rule or the configuration that refuses.
    """
    for group in programs(Run(cell, 0) for cell in cells):
        cell = group[0].cell
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
      stop: asked after each chunk of steps whether to stop.

    Raises:
      Stopped: `stop` said so.
    """
    folder = Path(folder)  # a notebook may give text
    checkpoints = Checkpoints(
        folder / CHECKPOINTS,
        checkpoint_every,
        {"code_digest": code()},
        lambda file: (folder / file).exists(),
    )
    discard(checkpoints.folder, checkpoints.finished)
    for group in programs(runs):
        todo = [run for run in group if not is_finished(folder, run)]
        done = sum(run.cell.steps for run in group if run not in todo)
        progress(done, "found on disk")
        if not todo:
            continue
        cell = todo[0].cell
        task = task_of(cell, dataset)
        width = width_of(cell)
        simulator = simulator_of(cell, task, shared=True)
        progress(0, f"compiling {cell.rule}")
        # Without and with Nesterov one after the other: what a program branches on is not batched.
        results = (
            (some[result.index], result)
            for nesterov in (False, True)
            if (some := [run for run in todo if run.cell.nesterov == nesterov])
            for result in sweep(
                simulator,
                [Lane(run.seed, hyperparameters_of(run.cell), run.file) for run in some],
                task.data,
                steps=cell.steps,
                width=width,
                look_ahead=nesterov,
                progress=functools.partial(_tell, progress, cell.rule),
                checkpoints=checkpoints,
                stop=stop,
            )
        )
        with jax.default_matmul_precision("float32" if cell.precision == "float32" else None):
            for run, result in results:
                summary = summary_of(result) | provenance() | {"notice": dataset.notice}
                summary |= {"wall_seconds": result.seconds, "vmap_width": width}
                summary |= {"code_digest": code()}
                if run.cell.certify:
                    bound = bound_of(run.cell.rule, run.cell.n, run.cell.f)
                    summary |= summarise(result.columns, bound)
                records.write_run(
                    folder, run.cell.name, run.cell.configuration(run.seed), result.columns, summary
                )


def _tell(progress: Callable[[int, str], None], rule: str, steps: int, accuracy: float) -> None:
    progress(steps, rule if math.isnan(accuracy) else f"{rule}, accuracy {accuracy:.3f}")


def code() -> str:
    """The digest of the code that decides a run's numbers."""
    names = ("cells", "footprint", "rules", "settings", "simulate")
    return code_digest(*(Path(__file__).with_name(f"{name}.py") for name in names))


def is_finished(folder: Path, run: Run) -> bool:
    return records.is_finished(folder, run.cell.name, run.cell.configuration(run.seed))


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


def _both_in_one(cell: Cell) -> bool:
    """Whether runs with and without Nesterov share a program, which then branches: where the paper
    has both. A small run would only compile longer.
    """
    return cell.dataset in PAPER and not cell.drops


def _places(cell: Cell) -> tuple[Place, ...]:
    """Update and worker share a program, so that a run's numbers do not depend on which of them was
    asked.
    """
    if cell.attack == "none":
        return (cell.momentum_at,)
    return ("server",) if cell.momentum_at == "server" else ("worker", "update")


def workers_at_once(cell: Cell) -> int | None:
    """One by one on a CPU where the network is convolutional: all at once take 8 GB and more."""
    convolutional = cell.dataset.startswith("cifar")
    return 1 if convolutional and jax.default_backend() == "cpu" else None


def _window(cell: Cell) -> int | None:
    """None, which saves keeping the past gradients, where it gives the same curvature.

    Beyond the window lies μ^window of the whole weight: 1e-7 with μ = 0.9 over 150 steps.
    """
    window = cell.curvature_window
    if window >= cell.steps or cell.momentum**window < NEGLIGIBLE:
        return None
    return window
