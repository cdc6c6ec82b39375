"""What is learnt: a quadratic of known constants, or images; data of several kinds as one array."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.defence_matrix.runs import parse_heterogeneity, shares_of
from simbyz._arrays.stacking import PyTree
from simbyz.data import Dataset
from simbyz.tasks import Dense, Task, classification
from simbyz.tasks.problems import Problem
from simbyz.tasks.problems import quadratic as quadratic_of

QUADRATIC = "quadratic"
DIMENSION, SMOOTHNESS, CONVEXITY = 10, 1.0, 0.2
# Data of a quadratic's honest workers: f̂ of them share a tilt and the others the opposite, the case
# that the floor is proved with; or each has a tilt of its own.
TILTS = ("minority", "spread")


class Case(NamedTuple):
    """What the workers' data depend on."""

    data: str
    f: int
    tolerated: int


class Learnt(NamedTuple):
    """A task, and what differs between cases: one field of its data, stacked by their numbers."""

    task: Task
    differs: str  # the name of the field
    stacked: PyTree
    numbers: dict[Case, int]


@functools.cache
def problem(workers: int, zeta: float, sigma: float, minority: int | None) -> Problem:
    """The quadratic; minority: how many workers share a tilt, if the others have the opposite."""
    return quadratic_of(
        jax.random.key(0),
        workers,
        DIMENSION,
        smoothness=SMOOTHNESS,
        convexity=CONVEXITY,
        noise=sigma,
        heterogeneity=zeta,
        minority=minority,
    )


def falling(steps: int) -> Callable[[jax.Array], jax.Array]:
    """The factor of the rate at a step: it falls to zero in the second half of them, and with it
    what is left of the noise.
    """
    return lambda step: jnp.minimum(1.0, 2 * (1 - step / steps))


def quadratic(n: int, zeta: float, sigma: float, cases: Sequence[Case]) -> Learnt:
    """The honest workers' quadratics, of heterogeneity ζ, before those of Byzantine workers, who
    have no tilt: the mean of all is the mean of the honest ones.
    """

    def tilts(case: Case) -> jax.Array:
        minority = max(1, case.tolerated) if case.data == "minority" else None
        honest = problem(n - case.f, zeta, sigma, minority).task.data.tilts
        return jnp.pad(honest, ((0, case.f), (0, 0)))

    stacked = jnp.stack([tilts(case) for case in cases])
    numbers = {case: number for number, case in enumerate(cases)}
    return Learnt(problem(n, zeta, sigma, None).task, "tilts", stacked, numbers)


def images(
    dataset: Dataset, n: int, hidden: int, batch_size: int, seed: int, cases: Sequence[Case]
) -> Learnt:
    """A network with one hidden layer; a case's partition is that of its heterogeneity."""
    levels = list(dict.fromkeys(case.data for case in cases))
    shares = shares_of(levels, dataset.train_labels, n, seed)
    some = [shares[level] for level in levels]
    task = classification(
        dataset, Dense(hidden, dataset.num_classes), batch_size=batch_size, partition=some[0]
    )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *some)
    numbers = {case: levels.index(case.data) for case in cases}
    return Learnt(task, "partition", stacked, numbers)


def squared_gradient_norm(n: int, zeta: float, sigma: float, parameters: np.ndarray) -> np.ndarray:
    """||∇f||² (runs,) of the honest workers' mean at parameters (runs, d), in float64; infinite
    where they are not finite.
    """
    data = problem(n, zeta, sigma, None).task.data
    hessian, optimum = (np.asarray(leaf, np.float64) for leaf in (data.hessian, data.optimum))
    finite = np.isfinite(parameters).all(axis=1)
    offsets = np.where(finite[:, None], parameters, 0).astype(np.float64) - optimum
    norms = np.sum(np.square(offsets @ hessian), axis=1)
    return np.where(finite, norms, np.inf)


def is_of(name: str, data: str) -> bool:
    """Whether these data are of this problem: tilts of quadratics, heterogeneity of images.

    Raises:
      ValueError: they are of neither.
    """
    if data in TILTS:
        return name == QUADRATIC
    parse_heterogeneity(data)
    return name != QUADRATIC
