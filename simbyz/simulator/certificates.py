"""Certificates: in each step the coefficient that the rule realised, beside its published bound.

See `simbyz.theory.robustness`; `Config.certify` asks for the columns.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays import moments
from simbyz._arrays.geometry import squared_distances

CERTIFICATES = ("coefficient", "distance")  # the columns
# What float32 adds to a coefficient: with f = 0 the bound of the trimmed mean is 0.
ROUNDING = 1e-6


def realised_coefficient(aggregate: jax.Array, honest: jax.Array) -> jax.Array:
    """||F - x̄_H||² / ((1/|H|) Σ ||x_i - x̄_H||²), over the rows H that are known to be honest.

    Where |H| = n - f this is a lower bound on the rule's κ, and a step is certified by an upper
    bound if it stays below. The largest over all S would need C(n, f) subsets; in a simulation the
    honest one is known, and it alone matters to the run.

    Args:
      aggregate: (d,).
      honest: (h, d).

    Returns:
      A scalar, at least float32: 0 where the aggregate is the honest mean, +inf where it is not and
      the honest rows agree, NaN where either is not finite. Distances count as long as their
      squares are numbers: in float32 those from 1e-19 to 1e19.

    Cost: two passes over the honest rows.
    """
    dtype = jnp.promote_types(honest.dtype, jnp.float32)
    honest, aggregate = honest.astype(dtype), aggregate.astype(dtype)
    center = moments.mean(honest)
    distance = jnp.sum(jnp.square(aggregate - center))
    variance = jnp.sum(jnp.square(honest - center[None])) / len(honest)
    return jnp.where(distance == 0, 0.0, distance / variance)


def realised_lambda(*, aggregate: jax.Array, honest: jax.Array) -> jax.Array:
    """Column: ||F - x̄_H|| / max_{i,j in H} ||x_i - x_j||, over the rows H that are known to be
    honest.

    A rule is an (f, λ)-resilient average if this is at most λ for every H of n - f rows: a lower
    bound, as `realised_coefficient` is of κ.

        make_simulator(Config(..., certify=True), ..., columns={"lambda": realised_lambda})

    Returns:
      A scalar: 0 where the aggregate is the honest mean, +inf where it is not and the honest rows
      agree, NaN where either is not finite, or nobody is honest.

    Cost: one h × h × d matrix product.
    Reference: Farhadkhani et al., Byzantine machine learning made easy by resilient averaging of
      momentums, ICML 2022.
    """
    if not len(honest):
        return jnp.float32(jnp.nan)
    dtype = jnp.promote_types(honest.dtype, jnp.float32)
    distance = jnp.linalg.norm(aggregate.astype(dtype) - moments.mean(honest.astype(dtype)))
    diameter = jnp.sqrt(jnp.max(squared_distances(honest)))
    ratio = jnp.where(distance == 0, 0.0, distance / diameter)
    finite = jnp.all(jnp.isfinite(honest)) & jnp.all(jnp.isfinite(aggregate))
    return jnp.where(finite, ratio, jnp.nan)


def certify(aggregate: jax.Array, honest: jax.Array) -> dict[str, jax.Array]:
    """The columns of a step: `realised_coefficient`, and the distance of the aggregate (d,) from
    the mean of what the honest workers sent (h, d).
    """
    distance = jnp.linalg.norm(aggregate - moments.mean(honest))
    return {"coefficient": realised_coefficient(aggregate, honest), "distance": distance}


def summarise(columns: Mapping[str, np.ndarray], bound: float | None) -> dict[str, float | None]:
    """Summary of a run's certificates.

    A bound proved for f holds for the honest rows however many they are, if those are n - f or
    more: their mean is the mean over their subsets of n - f rows, and a square of a mean is at most
    the mean of the squares; their variance is at least the subsets' on average.

    Args:
      columns: of a run, (steps + 1,) each; the last row took no step.
      bound: on the coefficient of the rule, None where nothing is known.

    Returns:
      largest_coefficient: of the steps where it is a number; None without any.
      coefficient_bound: the bound.
      certified_share: steps with a coefficient (not NaN) of at most the bound; None without one.
      mean_acceptance, mean_distance: over the steps where they are finite; None without any.
    """
    values = {name: np.asarray(columns[name][:-1], float) for name in CERTIFICATES}
    acceptance = columns.get("attack_acceptance")  # none without `Config.study`
    coefficient = values["coefficient"]
    numbers = coefficient[~np.isnan(coefficient)]
    certified = None
    if bound is not None and coefficient.size:
        certified = float(np.mean(coefficient <= bound * (1 + ROUNDING) + ROUNDING))
    return {
        "largest_coefficient": float(numbers.max()) if numbers.size else None,
        "coefficient_bound": bound,
        "certified_share": certified,
        "mean_acceptance": None
        if acceptance is None
        else _mean(np.asarray(acceptance[:-1], float)),
        "mean_distance": _mean(values["distance"]),
    }


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.mean(finite)) if finite.size else None
