"""Logistic regression whose workers see the same inputs and label them differently."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import integer
from simbyz._arrays.geometry import full_product
from simbyz.data.host_random import generator
from simbyz.tasks.problems.problem import Problem, dissimilarity, functions, require_constants


class LogisticData(NamedTuple):
    """f_i(θ) = (1/m) Σ_j [log(1 + exp(x_j·θ)) - p_ij x_j·θ] + regularisation ||θ||² / 2."""

    features: jax.Array  # x (m, d)
    labels: jax.Array  # p (h, m), probabilities of class 1
    regularisation: jax.Array | float
    noise: jax.Array | float


def logistic(
    key: jax.Array,
    workers: int,
    dimension: int,
    *,
    examples: int = 200,
    smoothness: float = 1.0,
    convexity: float = 0.1,
    noise: float = 0.0,
    heterogeneity: float = 0.0,
    minority: int | None = None,
) -> Problem:
    """Regularised logistic regression: workers share the inputs and differ in how they label them.

    The labels are probabilities p_ij, so that ∇f_i - ∇f = -(1/m) Σ_j (p_ij - p̄_j) x_j does not
    depend on θ and can be set. L is the largest eigenvalue of the Hessian at 0, its largest
    anywhere; μ is the regularisation. The optimum is found by Newton's method in float64.

    Args:
      key: decides inputs, labels and tilts.
      workers: h, the honest ones.
      dimension: d.
      examples: m, at least d.
      smoothness, convexity: L > μ > 0.
      noise: σ.
      heterogeneity: ζ = G, as far as labels can differ.
      minority: as in `quadratic`.

    Raises:
      ValueError: a constant out of range, too few workers to differ, or a heterogeneity that no
        labels in [0, 1] have.
    """
    require_constants(dimension=dimension, smoothness=smoothness, convexity=convexity, noise=noise)
    if smoothness <= convexity:
        raise ValueError(f"smoothness must be above convexity = {convexity}, got {smoothness}")
    examples = integer("examples", examples)
    if examples < dimension:
        raise ValueError(f"examples must be at least dimension = {dimension}, got {examples}")
    rng, h = generator(key, "logistic"), integer("workers", workers)
    _, tilts = dissimilarity(rng, h, dimension, heterogeneity, 0.0, minority)
    spectrum = 4 * (smoothness - convexity) * np.linspace(1, 0.5, dimension)
    left, _, right = np.linalg.svd(rng.normal(size=(examples, dimension)), full_matrices=False)
    features = np.sqrt(examples) * (left * np.sqrt(spectrum)) @ right  # XᵀX / m has that spectrum
    # A quarter of the labels flipped: all probabilities are in [1/4, 3/4], room to differ in.
    teacher = features @ rng.normal(size=dimension)
    mean = 0.25 + 0.5 * _sigmoid(teacher)
    # The smallest changes of labels that give the tilts.
    changes = -examples * (tilts @ np.linalg.pinv(features.T @ features)) @ features.T
    with np.errstate(divide="ignore"):
        room = np.where(changes > 0, 1 - mean, mean) / np.abs(changes)
    if room.min() < 1:
        raise ValueError(
            f"labels in [0, 1] allow a heterogeneity up to {room.min() * heterogeneity:.3g} here, "
            f"got {heterogeneity}"
        )
    optimum, least = _newton(features, mean, convexity)
    data = LogisticData(*map(jnp.float32, (features, mean + changes, convexity, noise)))

    def local(data: LogisticData, number: jax.Array, parameters: jax.Array) -> jax.Array:
        logits = full_product(data.features, parameters)
        losses = jax.nn.softplus(logits) - data.labels[number] * logits
        return jnp.mean(losses) + data.regularisation * jnp.sum(jnp.square(parameters)) / 2

    return Problem(
        *functions(data, local, h, dimension, least),
        optimum=optimum,
        smoothness=smoothness,
        convexity=convexity,
        noise=noise,
        heterogeneity=heterogeneity,
        growth=0.0,
    )


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(logits / 2)) / 2  # no overflow


def _newton(
    features: np.ndarray, labels: np.ndarray, regularisation: float
) -> tuple[np.ndarray, float]:
    """The optimum of regularised logistic regression, and the loss there, in float64."""

    def value(point: np.ndarray) -> float:
        logits = features @ point
        losses = np.logaddexp(0, logits) - labels * logits
        return losses.mean() + regularisation * point @ point / 2

    point = np.zeros(features.shape[1])
    for _ in range(100):
        probabilities = _sigmoid(features @ point)
        gradient = features.T @ (probabilities - labels) / len(labels) + regularisation * point
        weights = probabilities * (1 - probabilities) / len(labels)
        hessian = features.T @ (weights[:, None] * features)
        step = np.linalg.solve(hessian + regularisation * np.eye(len(point)), gradient)
        rate = 1.0
        while rate > 1e-10 and value(point - rate * step) > value(point):
            rate /= 2
        point = point - rate * step
        if np.linalg.norm(step) <= 1e-15 * (1 + np.linalg.norm(point)):
            break
    return point, value(point)
