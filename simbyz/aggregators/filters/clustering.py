"""A rule that splits the rows into two clusters by direction, and averages the larger one.

Non-finite values: a row that is not finite, or (in float32) some 1e19 times as long as the middle
one, is in no cluster and is never averaged.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import require
from simbyz._arrays.chunks import first_carry, sum_over_chunks
from simbyz._arrays.geometry import lower_gram, mirrored
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.moments import weighted_mean
from simbyz._arrays.shapes import Updates
from simbyz._arrays.stacking import PyTree, ravel
from simbyz.aggregators.center import Lengths, lengths_to, safe_sqrt

__all__ = ["clipped_clustering", "clipped_clustering_selection", "remember_norms"]


def _clipped_clustering(
    updates: Updates,
    f: int,
    *,
    history: jax.Array | np.ndarray | None = None,
    linkage: Literal["average", "single"] = "average",
) -> Halves:
    """The mean of the larger of two clusters of rows, clipped to the median norm M seen so far.

    The rows are joined by agglomerative clustering, the two nearest clusters first, until two are
    left; rows are 1 - cos(x_i, x_j) apart, which clipping does not change. The result is the mean
    of min(1, M / ||x_i||) x_i over the cluster of more rows.

    Args:
      history: (k,) norms of earlier rows, NaN where there was none yet: see `remember_norms`. M is
        the median of these and of the n new ones; None: of the new ones alone.
      linkage: two clusters are as far apart as their rows are on average, or as the nearest two.

    Returns:
      The aggregate; zeros if no row is finite. Of equal clusters the one of the earliest row is
      averaged. The choice carries no derivative, the clipping does.

    Raises:
      ValueError: n < 2f + 1, or an unknown linkage.

    Weights: 1/m for each of m rows of the cluster, clipped as they are.
    Cost: one n × n × d matrix product, two passes over the stack, and n steps on an n × n matrix.
    Reference: Li, Ngai and Voigt, An experimental study of Byzantine-robust aggregation schemes in
      federated learning, IEEE Transactions on Big Data, 2024.
    Convention: as in Blades, by the same authors, which keeps the whole history inside and gives a
      row of NaN the distance 2 from all: it then fills one of the two clusters alone.
    """
    stack, unravel = ravel(updates)
    norms, middle, chosen = _clustered(stack, f, history, linkage)
    count = jnp.maximum(jnp.sum(chosen), 1)

    def aggregate() -> jax.Array:
        clipped = jnp.where(chosen, jnp.minimum(1, middle / norms), 0)
        return weighted_mean(stack, clipped, count).astype(stack.dtype)

    return Halves(lambda: unravel(aggregate()), lambda: chosen / count)


clipped_clustering, clipped_clustering_selection = halves(_clipped_clustering)


def remember_norms(history: jax.Array | np.ndarray, updates: PyTree) -> jax.Array:
    """The history (k,) for the next call: with the norms of these rows, without the oldest ones.

    Start from jnp.full(k, jnp.nan), with room for k = steps · n norms to forget none.
    """
    stack, _ = ravel(updates)
    lengths = lengths_to(None, stack)
    norms = jnp.where(lengths.finite, lengths.values, jnp.inf) / lengths.unit
    return jnp.concatenate([history, norms.astype(history.dtype)])[len(stack) :]


def _clustered(
    stack: jax.Array, f: int, history: jax.Array | np.ndarray | None, linkage: str
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The norms (n,), their median with the history's, in their unit, and which rows are averaged
    (n,).
    """
    require("clipped_clustering", len(stack), f, 2, 1)
    if linkage not in ("average", "single"):
        raise ValueError(
            f'clipped_clustering knows the linkages "average" and "single", got {linkage!r}'
        )
    lengths = lengths_to(None, stack)
    norms = jnp.where(lengths.finite, lengths.values, jnp.inf)
    before = [] if history is None else [history.astype(norms.dtype) * lengths.unit]
    chosen = _larger_cluster(_angles(stack, lengths), lengths.finite, linkage)
    return norms, _median_of_known(jnp.concatenate([norms, *before])), chosen


def _median_of_known(values: jax.Array) -> jax.Array:
    """The median of the values that are not NaN, the mean of both middle ones of an even number."""
    count = jnp.sum(~jnp.isnan(values))
    ordered = jnp.sort(values)  # NaN last
    low, high = ordered[(count - 1) // 2], ordered[count // 2]
    # Of two infinities the difference is NaN.
    return jnp.where(low == high, low, low + (high - low) / 2)


def _angles(stack: jax.Array, lengths: Lengths) -> jax.Array:
    """1 - cos of the angle between each two rows, (n, n); 1 for a row of zeros.

    Rows that share a large part are at tiny angles, whose digits 1 - cos would lose: it is half the
    squared distance between the rows of length 1, which keeps them once their mean is subtracted.
    """
    stack, (norms, unit, finite) = jax.lax.stop_gradient((stack, lengths))
    known = finite & (norms > safe_sqrt(jnp.zeros_like(norms)))

    def gram(rows: jax.Array) -> jax.Array:
        rows = jnp.where(known[:, None], rows / norms[:, None], 0)
        rows = rows - jnp.mean(rows, axis=0)[None]
        return lower_gram(rows)

    product = mirrored(sum_over_chunks(gram, stack, jnp.zeros_like(stack[0]), unit))
    squares = jnp.diagonal(product)
    apart = (squares[:, None] + squares[None, :]) / 2 - product
    return jnp.where(known[:, None] & known[None, :], apart, 1)


def _larger_cluster(apart: jax.Array, valid: jax.Array, linkage: str) -> jax.Array:
    """Which of the valid rows are in the larger of two clusters, (n,)."""
    n = len(apart)
    rows = jnp.arange(n)
    pairs = valid[:, None] & valid[None, :] & (rows[:, None] != rows[None, :])

    def join(_: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        apart, sizes, cluster, left = carry
        i, j = jnp.divmod(jnp.argmin(apart), n)  # i < j: the first of two equal entries
        if linkage == "average":
            joined = (sizes[i] * apart[i] + sizes[j] * apart[j]) / (sizes[i] + sizes[j])
        else:
            joined = jnp.minimum(apart[i], apart[j])
        joined = joined.at[i].set(jnp.inf)
        after = apart.at[i].set(joined).at[:, i].set(joined).at[j].set(jnp.inf)
        after = after.at[:, j].set(jnp.inf)
        goes_on = left > 2
        return (
            jnp.where(goes_on, after, apart),
            jnp.where(goes_on, sizes.at[i].add(sizes[j]), sizes),
            jnp.where(goes_on & (cluster == j), i, cluster),
            left - goes_on,
        )

    start = (jnp.where(pairs, apart, jnp.inf), jnp.ones(n, apart.dtype), rows, jnp.sum(valid))
    start = first_carry(start, apart)
    _, _, cluster, _ = jax.lax.fori_loop(0, max(n - 2, 0), join, start)
    first = valid & (cluster == cluster[jnp.argmax(valid)])
    second = valid & ~first
    return jnp.where(jnp.sum(second) > jnp.sum(first), second, first)
