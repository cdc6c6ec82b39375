"""Rules that score every row by one number and average the rows of lowest score.

Non-finite values: a score that is not finite counts as +inf, so at most f rows of NaN or ±inf are
never chosen. In float32 that holds for norms and distances 1e19 times the middle one, too. The
choice carries no derivative. Of equal scores the earlier rows win.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import integer, require
from simbyz._arrays.chunks import first_carry
from simbyz._arrays.geometry import (
    middle_row,
    squared_distances,
    squared_distances_to,
    squared_norms,
    usual_or_again,
)
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.scales import nan_as_inf, wide
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.base import mean_of_some

__all__ = [
    "aksel",
    "aksel_selection",
    "cge",
    "cge_selection",
    "faba",
    "faba_selection",
    "medoid",
    "medoid_selection",
    "monna",
    "monna_selection",
]


def _cge(updates: Updates, f: int) -> Halves:
    """Comparative gradient elimination: the mean of the n - f rows of smallest norm.

    (1 / (n - f)) Σ x_i over the n - f rows of least ||x_i||.

    Raises:
      ValueError: n < 2f + 1.

    Weights: 1/(n - f) for a chosen row, else 0.
    Cost: two passes over the stack.
    Reference: Gupta et al., Byzantine fault-tolerance in decentralized optimization under
      2f-redundancy, 2021.
    Convention: the paper sums the rows; the released program of Distributed Momentum (ICLR 2021)
      and ByzPy average them, as here.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("cge", n, f, 2, 1)
    return mean_of_some(stack, lowest(squared_norms(stack).values, n - f), unravel)


cge, cge_selection = halves(_cge)


def _aksel(updates: Updates, f: int, *, mode: Literal["mid", "n-f"] = "mid") -> Halves:
    """The mean of the k rows closest to the coordinate-wise (lower) median.

    (1/k) Σ x_i over the k rows of least ||x_i - med||.

    Args:
      mode: "mid": k = ⌊(n + 1) / 2⌋; "n-f": k = n - f.

    Raises:
      ValueError: n < 2f + 1, or an unknown mode.

    Weights: 1/k for a chosen row, else 0.
    Cost: one sorting network and two passes over the stack.
    Reference: Boussetta et al., AKSEL: fast Byzantine SGD, OPODIS 2020.
    Convention: both modes and the default are the released program's of Distributed Momentum
      (ICLR 2021); the package krum takes k = n - f and, for an even n, the midpoint median.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("aksel", n, f, 2, 1)
    if mode not in ("mid", "n-f"):
        raise ValueError(f'aksel knows the modes "mid" and "n-f", got {mode!r}')
    rows = jax.lax.stop_gradient(stack)
    squares = squared_distances_to(middle_row(rows), rows).values
    return mean_of_some(stack, lowest(squares, (n + 1) // 2 if mode == "mid" else n - f), unravel)


aksel, aksel_selection = halves(_aksel)


def _monna(updates: Updates, f: int, *, index: int = 0) -> Halves:
    """Nearest neighbour averaging: the mean of the n - f rows closest to one that is trusted.

    (1 / (n - f)) Σ x_i over the n - f rows of least ||x_i - x_index||.

    Args:
      index: the trusted row, itself among the n - f; the worker that aggregates means its own.

    Returns:
      The aggregate. It follows the trusted row wherever it lies.

    Raises:
      ValueError: n < 2f + 1, or index not from 0 to n - 1.

    Weights: 1/(n - f) for a chosen row, else 0.
    Cost: two passes over the stack.
    Reference: Farhadkhani et al., Robust collaborative learning with linear gradient overhead, ICML
      2023.
    Convention: of equally far rows ByzFL keeps those that argpartition leaves.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("monna", n, f, 2, 1)
    index = integer("index", index)
    if not 0 <= index < n:
        raise ValueError(f"monna needs 0 <= index < n, got index={index}, n={n}")
    rows = jax.lax.stop_gradient(stack)
    squares = jnp.sum(jnp.square(wide(rows) - wide(rows[index])[None]), axis=1)
    squares = usual_or_again(squares, rows[index], rows).values
    return mean_of_some(stack, lowest(squares, n - f), unravel)


monna, monna_selection = halves(_monna)


def _faba(updates: Updates, f: int) -> Halves:
    """The mean of what is left after f times removing the row farthest from the mean of the rest.

    S ← S without argmax_{i in S} ||x_i - x̄_S||, f times; the result is x̄_S, the mean of S.

    Returns:
      The aggregate. Of equally far rows the earlier one is removed.

    Raises:
      ValueError: n < 2f + 1.

    Weights: 1/(n - f) for a row that is left, else 0.
    Cost: one n × n × d matrix product and a pass over the stack.
    Reference: Xia et al., FABA: an algorithm for fast aggregation against Byzantine attacks in
      distributed neural networks, IJCAI 2019.
    Convention: farthest from the mean with the row itself, or without it, is the same row.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("faba", n, f, 2, 1)
    # With squared distances D, ||x_i - μ||² is the mean of D_ij over the rows j that are left,
    # minus a number that is the same for all i: no other rows' digits enter.
    squares = squared_distances(stack)
    # A row that is not finite is far from all others, and the others from that row alone.
    squares = jnp.minimum(squares, jnp.finfo(squares.dtype).max / n)

    def remove(left: jax.Array, _: None) -> tuple[jax.Array, None]:
        scores = jnp.sum(jnp.where(left[None, :], squares, 0), axis=1)
        farthest = jnp.argmax(jnp.where(left, scores, -1))
        return left.at[farthest].set(False), None

    everyone = first_carry(jnp.ones(n, dtype=bool), stack)
    left, _ = jax.lax.scan(remove, everyone, length=f)
    return mean_of_some(stack, jnp.argsort(~left)[: n - f], unravel)


faba, faba_selection = halves(_faba)


def _medoid(updates: Updates, f: int = 0) -> Halves:
    """The row of least summed distance to all the others.

    x_i of least Σ_j ||x_i - x_j||.

    Returns:
      The aggregate, a row. Of equal sums the earlier row is taken. A row that is not finite, or
      whose distance to the middle one of the others is 1/eps times the least such distance, eps
      being that of the dtype (at least float32's), is left out: its distances would leave no digit
      of the others'.

    Raises:
      ValueError: n < 2f + 1.

    Weights: 1 for the chosen row, else 0.
    Cost: one n × n × d matrix product.
    Reference: Kaufman and Rousseeuw, Clustering by means of medoids, 1987; for Byzantine workers,
      it is the geometric median among the rows alone, as in Blanchard et al., Machine learning with
      adversaries, NeurIPS 2017, who sum squares: then two bad rows, one of them far away, suffice.
    Convention: plain distances; squared ones would give the row nearest to the mean.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    require("medoid", n, f, 2, 1)
    distances = jnp.sqrt(squared_distances(stack))
    reach = jnp.sort(distances, axis=1)[:, (n - 1) // 2]
    near = jnp.isfinite(reach) & (reach <= jnp.min(reach) / jnp.finfo(reach.dtype).eps)
    scores = jnp.sum(jnp.where(near[None, :], distances, 0), axis=1)
    chosen = jnp.argmin(jnp.where(near, scores, jnp.inf))
    return Halves(lambda: unravel(stack[chosen]), lambda: jnp.zeros(n).at[chosen].set(1))


medoid, medoid_selection = halves(_medoid)


def lowest(scores: jax.Array, count: int) -> jax.Array:
    """The places (count,) of the lowest scores (n,), a NaN counting as +inf."""
    # A NaN would be sorted behind +inf: among bad rows, which is first must not depend on it.
    return jnp.argsort(nan_as_inf(scores))[:count]
