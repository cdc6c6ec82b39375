"""Cells as compiled programs: which runs share one, and what is called for a cell."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.distributed_momentum.grid import chosen
from experiments.distributed_momentum.grid.cells import Cell
from experiments.distributed_momentum.grid.footprint import network_of
from experiments.distributed_momentum.grid.rules import rule_of, selection_of
from experiments.distributed_momentum.grid.settings import PAPER
from simbyz import attacks, records
from simbyz._arrays import moments
from simbyz.data import Dataset
from simbyz.simulator import Hyperparameters, Momentum, Simulator, make_simulator
from simbyz.simulator.config import Config, Place
from simbyz.tasks import Task, classification

# A larger share of the curvature than this is not left out by dropping its window (see `_window`).
NEGLIGIBLE = 1e-6
# Rules that bear the same f, and none of which tells what it accepted.
ALIKE = ("median", "trmean", "phocas", "meamed")


class Run(NamedTuple):
    cell: Cell
    seed: int

    @property
    def file(self) -> str:
        """The name of its file of results, which no other run has."""
        return records.run_path("", self.cell.name, self.cell.configuration(self.seed)).name


def little_or_empire(
    key: jax.Array,
    honest: jax.Array,
    num_byzantine: int,
    *,
    mean: float,
    deviation: float,
    rule: float = 0,
) -> jax.Array:
    """mean · (honest mean) + deviation · (honest deviation): both attacks of the paper, by two
    numbers.

    So that one compiled program runs both. A little is enough with factor k is (1, k), fall of
    empires with factor k is (1 - k, 0). Of the rule's number it makes nothing.
    """
    del key, rule
    row = mean * moments.mean(honest) + deviation * jnp.sqrt(moments.variance(honest))
    return jnp.broadcast_to(row, (num_byzantine, *row.shape))


ATTACKS: dict[str, tuple[Callable | None, dict[str, float | jax.Array]]] = {
    "none": (None, {}),
    "little": (little_or_empire, {"mean": 1.0, "deviation": -1.5}),
    "empire": (little_or_empire, {"mean": 1 - 1.1, "deviation": 0.0}),
    "nan": (attacks.nan, {}),
}


class Program(NamedTuple):
    """Fields that shape the compiled program of a cell: cells that agree in it are lanes of one."""

    task: tuple  # data set, network, precision, examples a worker and a step
    rules: tuple  # with n, f and their conventions
    attack: Callable | None
    places: tuple[Place, ...]
    nesterov: bool | None  # None: the program branches
    schedule: tuple
    recording: tuple  # steps, and what is computed beside them


def program_of(cell: Cell) -> Program:
    return Program(
        task=(cell.dataset, cell.depth, cell.width, cell.precision, cell.batch_size),
        rules=(rules_of(cell), cell.n, cell.f, cell.conventions),
        attack=ATTACKS[cell.attack][0],
        places=_places(cell),
        nesterov=None if _both_in_one(cell) else cell.nesterov,
        schedule=(cell.drops, cell.decay),
        recording=(cell.steps, cell.evaluate_every, _window(cell), cell.certify),
    )


def programs(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs grouped by the compiled program that they share."""
    groups: dict[Program, list[Run]] = {}
    for run in runs:
        groups.setdefault(program_of(run.cell), []).append(run)
    return list(groups.values())


def simulator_of(cell: Cell, task: Task, *, shared: bool = False) -> Simulator:
    """The simulator of a cell; shared: that of all cells of its program, with and without Nesterov,
    to be told whether to look ahead, and of several rules, of which a run's numbers tell its own.
    """
    attack, _ = ATTACKS[cell.attack]
    rules = rules_of(cell) if shared else (cell.rule,)
    several = len(rules) > 1
    ones = [rule_of(name, cell.n, cell.f, cell.conventions) for name in rules]
    simulator = make_simulator(
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
        chosen.among(ones) if several else ones[0],
        attack,
        selection=selection_of(cell.rule, cell.n, cell.f, cell.conventions, every=cell.certify),
        schedule=schedule_of(cell),
    )
    return chosen.told(simulator) if several else simulator


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


def hyperparameters_of(cell: Cell, *, shared: bool = False) -> Hyperparameters:
    """The numbers of a run; shared: of a simulator that is."""
    momentum: dict[str, Any] = {place: Momentum() for place in _places(cell)}
    momentum[cell.momentum_at] = Momentum(cell.momentum)
    _, options = ATTACKS[cell.attack]
    if shared and len(rules_of(cell)) > 1:
        options = options | {chosen.NUMBER: rules_of(cell).index(cell.rule)}
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
    module = network_of(cell.depth, cell.width, dataset.train_images.shape[-1], dataset.num_classes)
    dtype = jnp.bfloat16 if cell.precision == "bfloat16" else None
    return classification(
        dataset, module, batch_size=cell.batch_size, train_mode=False, dtype=dtype
    )


def rules_of(cell: Cell) -> tuple[str, ...]:
    """The rules of a cell's program: several in a small run, which would take longer to compile
    alone than to run. In the paper's grid that is little beside what its steps take.
    """
    small = cell.dataset not in PAPER and not cell.certify
    together = small and cell.rule in ALIKE and ATTACKS[cell.attack][0] is little_or_empire
    return ALIKE if together else (cell.rule,)


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
