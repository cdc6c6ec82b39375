"""Quadratics that differ between workers as much as they are told to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import integer
from simbyz._arrays.geometry import full_product
from simbyz.data.host_random import generator
from simbyz.tasks.problems.problem import Problem, dissimilarity, functions, require_constants


class QuadraticData(NamedTuple):
    """f_i(θ) = scales_i (θ - θ*)ᵀ A (θ - θ*) / 2 + tilts_i · (θ - θ*)."""

    hessian: jax.Array  # A (d, d)
    optimum: jax.Array  # θ* (d,)
    scales: jax.Array  # (h,), of mean 1
    tilts: jax.Array  # (h, d), of mean 0
    noise: jax.Array | float


def quadratic(
    key: jax.Array,
    workers: int,
    dimension: int,
    *,
    smoothness: float = 1.0,
    convexity: float = 0.1,
    noise: float = 0.0,
    heterogeneity: float = 0.0,
    growth: float = 0.0,
    minority: int | None = None,
) -> Problem:
    """f(θ) = (θ - θ*)ᵀ A (θ - θ*) / 2 with a dense A whose spectrum is evenly spaced from μ to L.

    ∇f_i(θ) = (1 + b_i) A (θ - θ*) + s_i with Σ b_i = 0, Σ s_i = 0, Σ b_i s_i = 0, (1/h) Σ b_i² = B²
    and (1/h) Σ ||s_i||² = G²; hence the dissimilarity is G² + B² ||∇f||² everywhere.

    Args:
      key: decides A, θ*, b and s.
      workers: h, the honest ones.
      dimension: d.
      smoothness, convexity: L >= μ > 0, of f (f_i has 1 + b_i times both).
      noise: σ.
      heterogeneity: G = ζ.
      growth: B.
      minority: that many workers, the last ones, share a tilt of their own, and all others share
        the opposite: the data for which no rule can beat the error floor. None: every worker has a
        random tilt.

    Raises:
      ValueError: a constant out of range, or too few workers to differ.
    """
    require_constants(dimension=dimension, smoothness=smoothness, convexity=convexity, noise=noise)
    if dimension == 1 and convexity != smoothness:
        raise ValueError(
            "in dimension 1 there is one curvature: give convexity = smoothness, got "
            f"convexity={convexity}, smoothness={smoothness}"
        )
    rng, h = generator(key, "quadratic"), integer("workers", workers)
    scales, tilts = dissimilarity(rng, h, dimension, heterogeneity, growth, minority)
    spectrum = np.linspace(convexity, smoothness, dimension)
    basis, _ = np.linalg.qr(rng.normal(size=(dimension, dimension)))
    optimum = rng.normal(size=dimension)
    data = QuadraticData(
        *map(jnp.float32, ((basis * spectrum) @ basis.T, optimum, scales, tilts, noise))
    )

    def local(data: QuadraticData, number: jax.Array, parameters: jax.Array) -> jax.Array:
        offset = parameters - data.optimum
        curved = full_product(full_product(data.hessian, offset), offset)
        return data.scales[number] * curved / 2 + full_product(data.tilts[number], offset)

    return Problem(
        *functions(data, local, h, dimension, least=0.0),
        optimum=optimum,
        smoothness=smoothness,
        convexity=convexity,
        noise=noise,
        heterogeneity=heterogeneity,
        growth=growth,
    )
