"""Rules that try all subsets of n - f rows, and average the one that is least spread.

Exact: what is left out is only what cannot be better. All three look at nothing but the distances
between rows, once; the search is over the (n, n) matrix of them and runs where the rows are.

Non-finite values: a distance that is not finite counts as +inf, so at most f rows of NaN or ±inf
are never chosen. The others are blanked, never multiplied by a weight of 0 (0 · inf is NaN), and a
gradient flows through the chosen rows alone.
"""

import math

import jax.numpy as jnp

from simbyz._arrays.checks import require
from simbyz._arrays.geometry import squared_distances
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.base import mean_of_some
from simbyz.aggregators.subsets.spectra import subset_of_smallest_top_eigenvalue
from simbyz.aggregators.subsets.sums import first_subset_of_smallest_sum
from simbyz.aggregators.subsets.vertex_cover import first_subset_of_smallest_diameter

__all__ = [
    "minimum_diameter_averaging",
    "minimum_diameter_averaging_selection",
    "minimum_variance_averaging",
    "minimum_variance_averaging_selection",
    "smea",
    "smea_selection",
]

# The search among distances does not grow with the number of subsets, but by 1.47 with each row to
# leave out, at worst.
MOST_LEFT_OUT = 30
# The others' searches do grow with it; 30,045,015 subsets of n = 30, f = 10 are within.
MOST_SUBSETS = 50_000_000


def _minimum_diameter_averaging(updates: Updates, f: int) -> Halves:
    """The mean of the n - f rows of smallest diameter.

    S* = argmin_{|S| = n - f} max_{i, j in S} ||x_i - x_j||; the result is (1 / (n - f)) Σ_{i in S*}
    x_i.

    Args:
      f: number of Byzantine rows tolerated, at most 30.

    Returns:
      The aggregate. Of subsets with equal diameters, the first in lexicographic order is taken.

    Raises:
      ValueError: n < 2f + 1, or f > 30.

    Weights: 1/(n - f) for a chosen row, else 0.
    Cost: one n × n × d matrix product, and a search for vertex covers of at most f rows, one for
      each of log2(n² / 2) diameters and then one for each row: 1 millisecond on one core at
      n = 30, f = 10.
    Reference: Rousseeuw, Multivariate estimation with high breakdown point, 1985; El-Mhamdi et al.,
      Genuinely distributed Byzantine machine learning, PODC 2020.
    Convention: also called Brute (the paper's program) and MDA (ByzFL); they enumerate subsets.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("minimum_diameter_averaging", n, f, 2, 1)
    if f > MOST_LEFT_OUT:
        raise ValueError(
            f"minimum_diameter_averaging needs f <= {MOST_LEFT_OUT}, got n={n}, f={f}:"
            f" {math.comb(n, f):,} subsets"
        )
    chosen = first_subset_of_smallest_diameter(squared_distances(stack), n - f)
    return mean_of_some(stack, jnp.flatnonzero(chosen, size=n - f), unravel)


minimum_diameter_averaging, minimum_diameter_averaging_selection = halves(
    _minimum_diameter_averaging
)


def _minimum_variance_averaging(updates: Updates, f: int) -> Halves:
    """The mean of the n - f rows of smallest variance.

    S* = argmin_{|S| = n - f} Σ_{i < j in S} ||x_i - x_j||², which is n - f times the sum of squared
    distances to the mean of S; the result is (1 / (n - f)) Σ_{i in S*} x_i.

    Returns:
      The aggregate. Of subsets with equal sums, the first in lexicographic order is taken; sums of
      more digits than the dtype holds are equal by chance.

    Raises:
      ValueError: n < 2f + 1, or there are more than 50,000,000 subsets.

    Weights: 1/(n - f) for a chosen row, else 0.
    Cost: one n × n × d matrix product, and n / 2 multiplications for each of the C(n, f) subsets:
      0.05 seconds on one core at n = 30, f = 10, and 0.3 if all rows are equally far.
    Reference: LPD-EPFL's programs (robust-collaborative-learning, 2022); no paper of its own.
    Convention: they enumerate subsets.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = _require_few_subsets("minimum_variance_averaging", n, f)
    distances = squared_distances(stack)
    # No sum may overflow, nor meet inf · 0. Rows that far apart are never together.
    largest = jnp.finfo(distances.dtype).max / n**2
    chosen = first_subset_of_smallest_sum(jnp.minimum(distances, largest), n - f)
    return mean_of_some(stack, jnp.flatnonzero(chosen, size=n - f), unravel)


minimum_variance_averaging, minimum_variance_averaging_selection = halves(
    _minimum_variance_averaging
)


def _smea(updates: Updates, f: int) -> Halves:
    """Smallest maximum eigenvalue averaging: the mean of the n - f rows that vary least along the
    direction in which they vary most.

    S* = argmin_{|S| = n - f} λ_max((1 / |S|) Σ_{i in S} (x_i - x̄_S)(x_i - x̄_S)ᵀ); the result is
    x̄_{S*}, the mean of S*.

    Returns:
      The aggregate. Of subsets whose eigenvalues agree to n machine epsilons any may be taken.

    Raises:
      ValueError: n < 2f + 1, or there are more than 50,000,000 subsets.

    Weights: 1/(n - f) for a chosen row, else 0.
    Cost: one n × n × d matrix product, and a branch and bound whose time depends on the rows. On
      one core at n = 30, f = 10: 0.2 seconds for Gaussian rows, less under attacks of equal rows;
      a minute and a half for the slowest found, rows in three distant clusters of equal size.
    Reference: Allouah et al., On the privacy-robustness-utility trilemma in distributed learning,
      ICML 2023, arXiv 2302.04787.
    Convention: the true eigenvalue. ByzFL takes one step of the power method from a random vector
      for it, and so chooses another subset, most often a worse one.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = _require_few_subsets("smea", n, f)
    chosen = subset_of_smallest_top_eigenvalue(squared_distances(stack), n - f)
    return mean_of_some(stack, jnp.flatnonzero(chosen, size=n - f), unravel)


smea, smea_selection = halves(_smea)


def _require_few_subsets(rule: str, n: int, f: int) -> int:
    f = require(rule, n, f, 2, 1)
    if math.comb(n, f) > MOST_SUBSETS:
        raise ValueError(
            f"{rule} needs at most {MOST_SUBSETS:,} subsets, got n={n}, f={f}:"
            f" {math.comb(n, f):,} subsets"
        )
    return f
