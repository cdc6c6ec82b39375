"""Problem, common to all: a task from the losses of workers, and how workers differ."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import at_least, integer, one_number
from simbyz._arrays.geometry import full_product
from simbyz._arrays.stacking import PyTree
from simbyz.tasks.task import Task


class Problem(NamedTuple):
    """A task with what is known about it. Its functions read the arrays they are given, as the
    simulator does: `data._replace(...)` changes a constant within one compiled program.
    """

    task: Task
    # (data, parameters) -> (h, d) exact gradients of the workers
    gradients: Callable[[PyTree, jax.Array], jax.Array]
    # (data, parameters) -> f
    objective: Callable[[PyTree, jax.Array], jax.Array]
    optimum: np.ndarray  # (d,) float64, where ∇f = 0
    smoothness: float  # L
    convexity: float  # μ
    noise: float  # σ
    heterogeneity: float  # G, or ζ
    growth: float  # B


def functions(
    data: PyTree, local: Callable[..., jax.Array], workers: int, dimension: int, least: float
) -> tuple[Task, Callable[..., jax.Array], Callable[..., jax.Array]]:
    """The task, and the exact gradients and mean, of worker losses local(data, number,
    parameters).
    """
    numbers = jnp.arange(workers)

    def batches(
        data: PyTree, key: jax.Array, first_step: jax.Array, num_steps: int, num_workers: int
    ) -> PyTree:
        """Who computes, and the noise: (num_steps, num_workers) and (num_steps, num_workers, d)."""
        if num_workers != workers:
            raise ValueError(f"the problem has {workers} workers, batches are for {num_workers}")

        def draw(step: jax.Array) -> jax.Array:
            return jax.random.normal(jax.random.fold_in(key, step), (workers, dimension))

        noise = jax.vmap(draw)(first_step + jnp.arange(num_steps)) / jnp.sqrt(dimension)
        return jnp.broadcast_to(numbers, (num_steps, workers)), noise

    def loss(
        data: PyTree, parameters: jax.Array, model_state: PyTree, batch: PyTree, key: jax.Array
    ) -> tuple[jax.Array, PyTree]:
        number, noise = batch
        tilt = full_product(noise, parameters)
        return local(data, number, parameters) + data.noise * tilt, model_state

    def objective(data: PyTree, parameters: jax.Array) -> jax.Array:
        return jnp.mean(jax.vmap(local, in_axes=(None, 0, None))(data, numbers, parameters))

    def gradients(data: PyTree, parameters: jax.Array) -> jax.Array:
        return jax.vmap(jax.grad(local, argnums=2), in_axes=(None, 0, None))(
            data, numbers, parameters
        )

    task = Task(
        data=data,
        initialise=lambda key: (jax.random.normal(key, (dimension,)), {}),
        batches=batches,
        loss=loss,
        # Larger is better, as of an accuracy: 0 at the optimum.
        accuracy=lambda data, parameters, model_state, key: least - objective(data, parameters),
        batch_size=1,
    )
    return task, gradients, objective


def dissimilarity(
    rng: np.random.Generator,
    h: int,
    d: int,
    heterogeneity: float,
    growth: float,
    minority: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scales (h,) and tilts (h, d) with the sums that `quadratic` states."""
    one_number("a problem", "heterogeneity", heterogeneity)
    one_number("a problem", "growth", growth)
    if not (0 <= heterogeneity < np.inf and 0 <= growth < np.inf):
        raise ValueError(
            "heterogeneity and growth must be at least 0 and finite, got "
            f"{heterogeneity} and {growth}"
        )
    least = 1 + (heterogeneity > 0) + (growth > 0)
    if minority is not None and growth > 0:
        least = 3  # scales differ within a group: one of them has two workers
    if h < least:
        raise ValueError(f"so different gradients need at least {least} workers, got {h}")
    scales, tilts = rng.normal(size=h), rng.normal(size=(h, d))
    if minority is None:
        scales -= scales.mean()
        tilts -= tilts.mean(axis=0)
        if growth > 0:
            tilts -= np.outer(scales, scales @ tilts) / (scales @ scales)
    else:
        if not 1 <= integer("minority", minority) < h:
            raise ValueError(f"minority must be from 1 to workers - 1 = {h - 1}, got {minority}")
        few = np.arange(h) >= h - minority
        tilts = np.outer(few - minority / h, tilts[0])
        for group in (few, ~few):
            scales[group] -= scales[group].mean()
    return 1 + _scaled(scales, growth), _scaled(tilts, heterogeneity)


def _scaled(rows: np.ndarray, size: float) -> np.ndarray:
    """Rows whose mean squared norm is size²."""
    if size == 0:
        return np.zeros_like(rows)
    return rows * size / np.sqrt(np.sum(np.square(rows)) / len(rows))


def require_constants(*, dimension: int, smoothness: float, convexity: float, noise: float) -> None:
    at_least("dimension", dimension, 1)
    for name, value in {"smoothness": smoothness, "convexity": convexity, "noise": noise}.items():
        one_number("a problem", name, value)
    if not 0 < convexity <= smoothness < np.inf:
        raise ValueError(
            "constants must satisfy 0 < convexity <= smoothness, got "
            f"convexity={convexity}, smoothness={smoothness}"
        )
    if not 0 <= noise < np.inf:
        raise ValueError(f"noise must be at least 0 and finite, got {noise}")
