"""Recordings of what honest workers send in a training run that nobody attacks."""

from collections.abc import Sequence

import jax
import numpy as np

from experiments.distributed_momentum.grid.cells import Cell, cells
from experiments.distributed_momentum.grid.programs import (
    hyperparameters_of,
    schedule_of,
    task_of,
    workers_at_once,
)
from experiments.distributed_momentum.grid.settings import DatasetName
from simbyz.aggregators import average
from simbyz.data import Dataset
from simbyz.simulator import Config, Momentum, make_simulator


def cell_of(dataset: DatasetName, n: int, f: int) -> Cell:
    """The data set's own setting with n - f honest workers and their average."""
    unattacked, *_ = cells(dataset, attacks=("none",), n=n, f=(f,))
    return unattacked


def record(
    cell: Cell, dataset: Dataset, at_step: Sequence[int], *, momentum: bool, seed: int
) -> np.ndarray:
    """The rows sent at some steps of a run with momentum at the workers: (steps, h, d).

    momentum: what they send then, their momenta; without, the clipped gradients of a run with
    momentum at the update, which are its momenta's increments.
    """
    task = task_of(cell, dataset)
    config = Config(
        n=cell.n,
        f=0,
        momentum_at=("worker",),
        evaluate_every=max(at_step) + 2,
        workers_at_once=workers_at_once(cell),
    )
    simulator = make_simulator(config, task, average, None, schedule=schedule_of(cell))
    hyperparameters = hyperparameters_of(cell)
    worker = hyperparameters.update or Momentum()
    hyperparameters = hyperparameters._replace(worker=worker, update=None)
    key = jax.random.key(seed)
    advance = jax.jit(simulator.advance, static_argnums=5)
    state, done, rows = jax.jit(simulator.initialise)(key), 0, {}
    for step in sorted(set(at_step)):
        if step > done:
            state, _ = advance(state, hyperparameters, task.data, key, done, step - done)
        before = state.senders[-1]
        state, _ = advance(state, hyperparameters, task.data, key, step, 1)
        done = step + 1
        sent = state.senders[-1]
        rows[step] = np.asarray(sent if momentum else sent - worker.decay * before)
    return np.stack([rows[step] for step in at_step])
