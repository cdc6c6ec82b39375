"""Rules that look at each coordinate alone, by order statistics over the workers.

Non-finite values: a NaN counts as +inf, so at most f rows of NaN or ±inf leave every rule here
finite but `average`, which is not robust to anything. Sums and differences of large values, which
may be no floats, are those of a part of them: what is a float comes out as one.

Weights: in each coordinate a rule here averages the values between two bounds; the rows whose
values lie between them share that coordinate equally, those of equal values at a bound, too. A
row's weight is the mean of its shares over the coordinates, and all weights sum to 1. They take a
sorting network of their own: one that feeds several outputs is computed anew for each.
"""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.checks import flag, not_negative, require
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.moments import bearable, sum_of_parts, sure_mean_rows, weighted_mean
from simbyz._arrays.ranks.closest import (
    bounds_of_closest,
    mean_of_closest,
    shares_between,
)
from simbyz._arrays.ranks.many_rows import mean_of_nearest, mean_of_ranks, sum_of
from simbyz._arrays.ranks.order_statistics import (
    MAX_NETWORK_ROWS,
    fits_network,
    sorted_rows,
)
from simbyz._arrays.ranks.pieces import by_pieces
from simbyz._arrays.redo import are_finite
from simbyz._arrays.scales import nan_as_inf, wide
from simbyz._arrays.stacking import Updates, ravel

__all__ = [
    "average",
    "average_selection",
    "meamed",
    "meamed_selection",
    "median",
    "median_selection",
    "phocas",
    "phocas_selection",
    "robust_learning_rate",
    "robust_learning_rate_selection",
    "trimmed_mean",
    "trimmed_mean_selection",
]


def _average(updates: Updates, f: int = 0) -> Halves:
    """The mean of all rows: (1/n) Σ x_i. One bad row moves it anywhere; f is accepted and not used.

    Raises:
      ValueError: f < 0 or n < 1.

    Cost: one pass over the stack.
    Reference: none; it is what every rule is held against.
    Convention: rows count alike. Federated averaging weighs them by how much data they stand for.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    require("average", n, f, 0, 1)
    return Halves(lambda: unravel(moments.sure_mean(stack)), lambda: jnp.full(n, 1 / n))


average, average_selection = halves(_average)


def _median(updates: Updates, f: int = 0, *, midpoint: bool = False) -> Halves:
    """Coordinate-wise median.

    x_(⌈n/2⌉) of the values x_(1) ≤ ... ≤ x_(n) of a coordinate.

    Args:
      midpoint: for an even n, take the mean of the two middle values instead of the lower one.

    Raises:
      ValueError: n < 2f + 1.

    Cost: one sorting network, as far as it bears on the middle; ranks by bisection above 128 rows.
    Reference: Yin et al., Byzantine-robust distributed learning, ICML 2018.
    Convention: for an even n the paper's program (torch.median) takes the lower middle value, the
      default; ByzFL, krum and Blades take the midpoint.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    require("median", n, f, 2, 1)
    low = (n - 1) // 2
    high = n // 2 if flag("midpoint", midpoint) else low

    def rule(stack: jax.Array) -> jax.Array:
        rows = sorted_rows(stack, [low, high])
        return rows[low] if low == high else sure_mean_rows([rows[low], rows[high]])

    def weights() -> jax.Array:
        rows = sorted_rows(stack, [low, high])
        return shares_between(stack, rows[low], rows[high])

    return Halves(lambda: unravel(by_pieces(rule)(stack)), weights)


median, median_selection = halves(_median)


def _trimmed_mean(updates: Updates, f: int) -> Halves:
    """Coordinate-wise mean of what is left without the f smallest and the f largest values.

    (1 / (n - 2f)) Σ_{i = f + 1}^{n - f} x_(i) of the values x_(1) ≤ ... ≤ x_(n) of a coordinate.

    Raises:
      ValueError: n < 2f + 1.

    Cost: one sorting network; ranks by bisection above 128 rows, and from 116 on unless f is small
      or nearly n / 2.
    Reference: Yin et al., Byzantine-robust distributed learning, ICML 2018.
    Convention: some implementations are told a share β of the rows to cut at each end, instead of
      their number f = β n.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    require("trimmed_mean", n, f, 2, 1)

    def rule(stack: jax.Array) -> jax.Array:
        return _mean_without_ends(stack, f).astype(stack.dtype)

    def weights() -> jax.Array:
        rows = sorted_rows(stack, [f, n - f - 1])
        return shares_between(stack, rows[f], rows[n - f - 1])

    return Halves(lambda: unravel(by_pieces(rule)(stack)), weights)


trimmed_mean, trimmed_mean_selection = halves(_trimmed_mean)


def _mean_without_ends(stack: jax.Array, f: int) -> jax.Array:
    """The trimmed mean (d,), in at least float32."""
    n = len(stack)
    middle = range(f, n - f)
    if not fits_network(n, middle, [middle]):
        return mean_of_ranks(nan_as_inf(stack), f, n - f - 1)
    rows = sorted_rows(stack, middle, [middle])
    return sure_mean_rows([wide(row) for row in rows[f : n - f]])


def _phocas(updates: Updates, f: int) -> Halves:
    """Coordinate-wise mean of the n - f values closest to the trimmed mean.

    (1 / (n - f)) Σ x_i over the n - f values of least |x_i - t|, t the trimmed mean.

    Raises:
      ValueError: n < 2f + 1.

    Cost: one sorting network and f comparisons a coordinate; above 128 rows, and from 98 on if f
      is large, some 100 passes over pieces of the stack that stay in the cache.
    Reference: Xie et al., Phocas: dimensional Byzantine-resilient SGD, 2018.
    Convention: of two values equally far on both sides, the smaller one is kept.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    require("phocas", n, f, 2, 1)

    def center(rows: list[jax.Array]) -> jax.Array:
        trimmed = rows[f : n - f]
        # A sum written out would be fused into each comparison with it, and summed anew for each.
        if n > MAX_NETWORK_ROWS:
            return jnp.mean(jnp.stack(trimmed), axis=0)
        total, part = sum_of_parts(trimmed, among=n)
        return total / (len(trimmed) * part)

    def center_of_many(stack: jax.Array) -> jax.Array:
        return _mean_without_ends(stack, f)

    return _closest_to(center, center_of_many, stack, n - f, [range(f, n - f)], unravel)


phocas, phocas_selection = halves(_phocas)


def _meamed(updates: Updates, f: int, *, midpoint: bool = False) -> Halves:
    """Mean around the median: coordinate-wise mean of the n - f values closest to the median.

    (1 / (n - f)) Σ x_i over the n - f values of least |x_i - med|.

    Args:
      midpoint: which median is meant for an even n, as in `median`.

    Raises:
      ValueError: n < 2f + 1.

    Cost: as `phocas`.
    Reference: Xie et al., Generalized Byzantine-tolerant SGD, 2018.
    Convention: of two values equally far on both sides, the smaller one is kept (the paper's
      program and ByzFL keep the earlier row, or whichever their partition leaves).
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    require("meamed", n, f, 2, 1)
    low, high, midpoint = (n - 1) // 2, n // 2, flag("midpoint", midpoint)

    def center(rows: list[jax.Array]) -> jax.Array:
        some = [wide(rows[low]), wide(rows[high])]
        return sure_mean_rows(some) if midpoint and low != high else rows[low]

    def center_of_many(stack: jax.Array) -> jax.Array:
        return center(sorted_rows(stack, (low, high)))

    sets = [range(f, low), range(high + 1, n - f)]
    return _closest_to(center, center_of_many, stack, n - f, sets, unravel)


meamed, meamed_selection = halves(_meamed)


def _robust_learning_rate(
    updates: Updates, f: int, *, threshold: int | float | jax.Array | None = None
) -> Halves:
    """The mean, turned around in the coordinates in which too few rows agree on the sign.

    (1/n) Σ x_i where |Σ sign x_i| >= threshold, else -(1/n) Σ x_i: as if the learning rate were
    negative there.

    Args:
      threshold: 0 or more, may be traced; f + 1 if None. With 0 it is the mean.

    Returns:
      The aggregate; NaN if no row is finite. Rows that are not finite neither vote nor count in the
      mean; how large the finite ones are is not bounded: put `clipping` before it.

    Raises:
      ValueError: n < 3f + 1, or a threshold that is negative or NaN (if not traced).

    Weights: those of the mean, 1/m for each of m finite rows; that a coordinate is turned is not
      in them.
    Cost: three passes over the stack.
    Reference: Ozdayi, Kantarcioglu and Gel, Defending against backdoors in federated learning with
      robust learning rate, AAAI 2021, whose text was not at hand.
    Convention: the threshold is what one has to choose. f bad rows alone cannot reach f + 1, nor
      keep n - f rows that agree below n - 2f: between the two is room from n = 3f + 1 on.
    """
    stack, unravel = ravel(updates)
    f = require("robust_learning_rate", len(stack), f, 3, 1)
    threshold = f + 1 if threshold is None else threshold
    not_negative("robust_learning_rate", "threshold", threshold)
    finite = are_finite(stack)
    used = finite.astype(jnp.promote_types(stack.dtype, jnp.float32))
    total = jnp.sum(used)

    def aggregate() -> jax.Array:
        voting = jnp.where(finite[:, None], stack, 0)
        votes = jnp.abs(sum_of(lambda row: jnp.sign(row).astype(used.dtype), voting))
        mean = weighted_mean(stack, used, total)
        return jnp.where(votes >= threshold, mean, -mean).astype(stack.dtype)

    return Halves(lambda: unravel(aggregate()), lambda: used / total)


robust_learning_rate, robust_learning_rate_selection = halves(_robust_learning_rate)


def _closest_to(
    center: Callable[[list[jax.Array]], jax.Array],
    center_of_many: Callable[[jax.Array], jax.Array],
    stack: jax.Array,
    count: int,
    sets: Iterable[Iterable[int]],
    unravel: Callable[[jax.Array], jax.Array],
) -> Halves:
    """The mean of the `count` values closest to a centre that is made of the sorted rows.

    Args:
      center_of_many: the same centre, of a stack (n, d) without NaN that has too many rows to be
        sorted.
      sets: of ranks whose values are kept in any case, and do not enter the centre but by a sum.
    """
    dtype = stack.dtype

    # Of half precision neither the centre nor a distance is rounded, or another value is dropped.
    def to_wide(rows: list[jax.Array]) -> list[jax.Array]:
        return [wide(row) for row in rows]

    def rule(stack: jax.Array) -> jax.Array:
        if not fits_network(len(stack), range(len(stack)), sets):
            stack = nan_as_inf(stack)
            return mean_of_nearest(stack, center_of_many(stack), count).astype(dtype)
        rows = to_wide(sorted_rows(stack, sets=sets))
        return mean_of_closest(rows, center(rows), count).astype(dtype)

    def weights() -> jax.Array:
        some = bearable(stack)
        rows = to_wide(sorted_rows(some))
        return shares_between(some, *bounds_of_closest(rows, center(rows), count))

    return Halves(lambda: unravel(by_pieces(rule)(stack)), weights)


def trimmed_mean_with_copies(stack: jax.Array, row: jax.Array, copies: int, f: int) -> jax.Array:
    """`trimmed_mean` (d,) of the rows (n, d) and as many copies of one more (d,), by a network of
    the n rows alone where one is used.

    What is neither among the f smallest nor the f largest of the rows stays, wherever the copies
    land; as many values as there are copies stay besides, in the middle of the copies and the
    rows' ends. The k-th smallest of sorted values y and c copies of x is min(y_k, max(x, y_k-c)).
    """
    n = len(stack)
    end = min(copies, f)
    low, middle, high = range(f - end, f), range(f, n - f), range(n - f, n - f + end)
    ranks = [*low, *middle, *high]
    if not fits_network(n, ranks, [middle]):
        copied = jnp.broadcast_to(row, (copies, *row.shape))
        return trimmed_mean(jnp.concatenate([stack, copied]), f)
    row = jnp.where(jnp.isnan(row), jnp.inf, row)
    rows = sorted_rows(stack, ranks, [middle])
    ends = [rows[rank] for rank in (*low, *high)]
    kept = [rows[rank] for rank in middle]
    for k in range(end, end + copies):
        value = row if k < copies else jnp.maximum(row, ends[k - copies])
        kept.append(jnp.minimum(ends[k], value) if k < 2 * end else value)
    return sure_mean_rows(kept)
