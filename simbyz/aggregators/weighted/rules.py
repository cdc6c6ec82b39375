"""Rules that weigh rows: a row of mass m counts as m equal rows of mass 1 would.

In federated learning a worker's mass is the number of samples that it holds, or says it holds. Only
ratios of masses matter. A mass that is negative or not finite counts as 0, and a row of mass 0 as
absent, whatever it holds.

What is left of robustness: the median and the geometric median bear any rows that together hold
less than half of the mass, however few rows that is; a worker whose claim is believed breaks them
alone by claiming as much as all others. `heaviest_share` tells what f workers can hold at most, and
`simbyz.simulator.weighting` caps claims. A NaN counts as +inf in the median, and a row that is not
finite has no pull in the geometric median, as without masses.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from simbyz._arrays.checks import in_a_line, require
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.lengths import lengths_to
from simbyz._arrays.moments import weighted_mean
from simbyz._arrays.ranks.closest import shares_between
from simbyz._arrays.scales import own_lengths
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.center import pulled_center, unknown_start, weiszfeld
from simbyz.aggregators.weighted.middle import weighted_middle_row

__all__ = [
    "WEIGHTED",
    "heaviest_share",
    "weighted_average",
    "weighted_average_selection",
    "weighted_geometric_median",
    "weighted_geometric_median_selection",
    "weighted_median",
    "weighted_median_selection",
]


def _weighted_average(updates: Updates, f: int = 0, *, masses: ArrayLike) -> Halves:
    """The weighted mean: Σ m_i x_i / Σ m_i. One bad row of any mass moves it anywhere.

    Args:
      masses: (n,) of the rows; may be traced.

    Returns:
      The aggregate; NaN if traced masses are all 0.

    Raises:
      ValueError: f < 0, masses of another shape, or without a positive one.

    Weights: the shares of the mass.
    Cost: one pass over the stack.
    Reference: McMahan et al., Communication-efficient learning of deep networks from decentralized
      data, AISTATS 2017.
    """
    stack, unravel = ravel(updates)
    require("weighted_average", len(stack), f, 0, 1)
    known = checked_masses("weighted_average", masses, len(stack), stack.dtype)
    total = jnp.sum(known)
    return Halves(
        lambda: unravel(weighted_mean(stack, known, total).astype(stack.dtype)),
        lambda: jax.lax.stop_gradient(known / total),
    )


weighted_average, weighted_average_selection = halves(_weighted_average)


def _weighted_median(updates: Updates, f: int = 0, *, masses: ArrayLike) -> Halves:
    """Coordinate-wise weighted median: the least value whose mass, with all below it, is at least
    the mass above it. It lies between honest values where these hold more than half of the mass.

    Args:
      masses: (n,) of the rows; may be traced.

    Returns:
      The aggregate; NaN if traced masses are all 0.

    Raises:
      ValueError: n < 2f + 1, masses of another shape, or without a positive one.

    Weights: the share of coordinates in which a row is the median; rows of equal values share it.
    Cost: a whole sorting network over values and masses, about three times `median`; above 64
      rows a bisection, 32 passes over pieces that stay in the cache.
    Reference: Edgeworth, On observations relating to several quantities, 1887.
    Convention: the lower one of two values that halve the mass, as `median` takes by default.
      Whole masses halve exactly up to a sum of 2^24, equal ones always.
    """
    stack, unravel = ravel(updates)
    require("weighted_median", len(stack), f, 2, 1)
    known = checked_masses("weighted_median", masses, len(stack), stack.dtype)
    middle = weighted_middle_row(stack, known)

    def weights() -> jax.Array:
        present = jnp.where((known > 0)[:, None], stack, jnp.inf)  # an absent row takes no share
        return jnp.where(known > 0, shares_between(present, middle, middle), 0)

    return Halves(lambda: unravel(middle), weights)


weighted_median, weighted_median_selection = halves(_weighted_median)


def _weighted_geometric_median(
    updates: Updates,
    f: int = 0,
    *,
    masses: ArrayLike,
    smoothing: float | jax.Array = 0.1,
    iterations: int = 3,
    start: Literal["mean", "zeros", "median"] = "zeros",
) -> Halves:
    """The point of least Σ m_i ||x_i - z||, by smoothed Weiszfeld iterations.

    z ← Σ w_i x_i / Σ w_i with w_i = m_i / max(smoothing, ||x_i - z||), a fixed number of times.

    Args:
      masses: (n,) of the rows; may be traced.
      smoothing: as in `geometric_median`.
      iterations: at least 1.
      start: z before the first iteration: the weighted mean of the finite rows, zeros, or the
        coordinate-wise weighted median.

    Returns:
      The aggregate; NaN if no row of positive mass is finite.

    Raises:
      ValueError: n < 2f + 1, iterations < 1, an unknown start, masses of another shape, or without
        a positive one.

    Weights: those of the last step, their sum 1.
    Cost: two passes over the stack an iteration.
    Reference: Pillutla et al., Robust aggregation for federated learning, 2022, where masses are
      numbers of samples.
    Convention: as `geometric_median`.
    """
    stack, unravel = ravel(updates)
    require("weighted_geometric_median", len(stack), f, 2, 1)
    known = checked_masses("weighted_geometric_median", masses, len(stack), stack.dtype)
    # Lengths are in a unit of the middle row, whatever the masses: rows beside which most of the
    # mass would have no squares are none.
    lengths = own_lengths(jax.lax.stop_gradient(stack))
    sizes = jnp.log2(lengths.values) - jnp.log2(lengths.units)
    order = jnp.argsort(sizes)
    up_to = jnp.cumsum(known[order])
    middle = sizes[order][jnp.argmax(2 * up_to >= up_to[-1])]
    reach = jnp.finfo(sizes.dtype).maxexp // 2
    far = jnp.isfinite(middle) & ~(sizes < middle + reach)
    near = jnp.where(far[:, None], jnp.nan, stack)
    if start == "zeros":
        first = None
    elif start == "mean":
        present = jnp.where(lengths_to(None, near).finite, known, 0)
        first = weighted_mean(near, present, jnp.sum(present))
    elif start == "median":
        first = weighted_middle_row(near, known).astype(known.dtype)
    else:
        raise unknown_start("weighted_geometric_median", start)
    center, weights = weiszfeld(
        "weighted_geometric_median", near, first, smoothing, iterations, known
    )
    return pulled_center(center, weights, stack, unravel)


weighted_geometric_median, weighted_geometric_median_selection = halves(_weighted_geometric_median)


def heaviest_share(masses: ArrayLike, f: int) -> jax.Array:
    """The share of the mass that the f heaviest rows hold: below 1/2, any f rows are borne.

    Raises:
      ValueError: f is not from 0 to n, masses are not (n,), or none is positive.
    """
    n = np.size(masses)
    require("heaviest_share", n, f, 1, 0)
    known = checked_masses("heaviest_share", masses, n)
    heavy, _ = jax.lax.top_k(known, f)
    return jnp.sum(heavy) / jnp.sum(known)


def checked_masses(
    rule: str, masses: ArrayLike, n: int, dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """The masses (n,) with 0 for those that are negative or not finite, the largest from 2 to 4.

    Raises:
      ValueError: they are not (n,), are complex, or none is positive and finite (if not traced).
    """
    if np.shape(masses) != (n,):
        raise ValueError(
            f"{rule} needs a mass for each of the n={n} rows, got shape {np.shape(masses)}"
        )
    if np.iscomplexobj(masses):
        raise ValueError(f"{rule} needs masses that are real, got complex ones")
    if not isinstance(masses, jax.core.Tracer):
        values = np.asarray(masses, np.float64)
        counted = np.where(np.isfinite(values) & (values > 0), values, 0)
        if not np.any(counted):
            raise ValueError(f"{rule} needs a mass above 0, got {in_a_line(values)}")
        # In double precision, as all of them may be too small or too large for a float32.
        masses = np.ldexp(counted, 2 - np.frexp(counted.max())[1])
    known = jnp.asarray(masses, jnp.promote_types(dtype, jnp.float32))
    known = jnp.where(jnp.isfinite(known) & (known > 0), known, 0)
    # By a power of two, which rounds nothing: whole masses stay as exact as they were.
    largest = jax.lax.stop_gradient(jnp.max(known))
    mantissa, _ = jnp.frexp(largest)
    # A quarter, as the inverse of the largest power there is would be flushed to 0.
    power = largest / (4 * mantissa)
    return known / jnp.where(power > 0, power, 1)


WEIGHTED = {
    "weighted_average": weighted_average,
    "weighted_median": weighted_median,
    "weighted_geometric_median": weighted_geometric_median,
}
