"""Problems that are timed: the paper's cells on images of the published shapes.

Time does not depend on what the pixels show, so the images are random and nothing has to be
downloaded.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.distributed_momentum.grid.cells import Cell, cells
from experiments.distributed_momentum.grid.programs import hyperparameters_of, simulator_of, task_of
from simbyz import data
from simbyz.data.datasets import PREPROCESSING
from simbyz.simulator import Hyperparameters, Simulator, State
from simbyz.tasks import Task

# Training images, test images, shape of one.
SHAPES = {
    "mnist": (60_000, 10_000, (28, 28, 1)),
    "fashion_mnist": (60_000, 10_000, (28, 28, 1)),
    "cifar10": (50_000, 10_000, (32, 32, 3)),
    "cifar100": (50_000, 10_000, (32, 32, 3)),
}


def random_images(name: str) -> data.Dataset:
    """A data set of the shapes of the one named, its images and labels drawn at random."""
    if name == "digits":
        return data.load(name)
    num_train, num_test, shape = SHAPES[name]
    preprocessing = PREPROCESSING[name]
    generator = np.random.default_rng(0)

    def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
        labels = generator.integers(0, preprocessing["num_classes"], number).astype(np.int32)
        return generator.integers(0, 256, (number, *shape), np.uint8), labels

    return data.Dataset(name, *draw(num_train), *draw(num_test), **preprocessing)


class Problem(NamedTuple):
    """A cell, ready to be called: what the compiled functions take, on the device."""

    cell: Cell
    task: Task
    simulator: Simulator
    arguments: tuple[State, Hyperparameters, jax.Array, jax.Array]  # with the data and the key


def problem_of(cell: Cell, dataset: data.Dataset) -> Problem:
    task = task_of(cell, dataset)
    simulator = simulator_of(cell, task)
    key = jax.random.key(1)
    hyperparameters = jax.tree.map(jnp.float32, hyperparameters_of(cell))
    state = jax.jit(simulator.initialise)(key)
    return Problem(
        cell, task, simulator, (state, hyperparameters, jax.tree.map(jnp.asarray, task.data), key)
    )


def attacked(dataset: str, rule: str, f: int, **changes) -> Cell:
    """The one of `cells_of` a rule that is under attack."""
    return cells_of(dataset, [rule], f, **changes)[-1]


def cells_of(dataset: str, rules: Sequence[str], f: int, **changes) -> list[Cell]:
    """The paper's cells of a data set with momentum at the workers under *a little is enough*, the
    unattacked average first; all rules that (n, f) bears if none is named.
    """
    return cells(
        dataset,
        rules=list(rules) or None,
        attacks=("none", "little"),
        places=("worker",),
        f=(f,),
        **changes,
    )
