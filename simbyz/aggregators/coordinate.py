"""Rules that look at each coordinate alone, by order statistics over the workers.

Non-finite values: a NaN counts as +inf, so at most f rows of NaN or ±inf leave every rule here
finite but `average`, which is not robust to anything.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.chunks import first_carry, in_mesh
from simbyz._arrays.moments import sum_rows
from simbyz._arrays.order_statistics import MAX_NETWORK_ROWS, MAX_ORDERED_ROWS, sorted_rows
from simbyz._arrays.shapes import Aggregate, Updates
from simbyz._arrays.stacking import aggregate, require


def average(updates: Updates, f: int = 0, *, layerwise: bool = False) -> Aggregate:
    """The mean of all rows: (1/n) Σ x_i. One bad row moves it anywhere; f is accepted and not used.

    Args:
      updates: (n, d), or a pytree of leaves (n, ...).
      f: any non-negative int.
      layerwise: aggregate each leaf alone.

    Returns:
      (d,), or the pytree without its worker axis.

    Raises:
      ValueError: f < 0 or n < 1.

    Cost: one pass over the stack.
    Reference: none; it is what every rule is held against.
    Convention: rows count alike. Federated averaging weighs them by how much data they stand for.
    """

    def rule(stack: jax.Array) -> jax.Array:
        require("average", len(stack), f, 0, 1)
        return moments.mean(stack)

    return aggregate(rule, updates, layerwise)


def median(
    updates: Updates, f: int = 0, *, midpoint: bool = False, layerwise: bool = False
) -> Aggregate:
    """Coordinate-wise median.

    x_(⌈n/2⌉) of the values x_(1) ≤ ... ≤ x_(n) of a coordinate.

    Args:
      updates: (n, d), or a pytree of leaves (n, ...).
      f: number of Byzantine rows tolerated; only checked.
      midpoint: for an even n, take the mean of the two middle values instead of the lower one.
      layerwise: aggregate each leaf alone.

    Returns:
      (d,), or the pytree without its worker axis.

    Raises:
      ValueError: n < 2f + 1.

    Cost: one sorting network, as far as it bears on the middle; a sort above 128 rows.
    Reference: Yin et al., Byzantine-robust distributed learning, ICML 2018.
    Convention: for an even n the paper's program (torch.median) takes the lower middle value, the
      default; ByzFL, krum and Blades take the midpoint.
    """

    def rule(stack: jax.Array) -> jax.Array:
        n = len(stack)
        require("median", n, f, 2, 1)
        low, high = (n - 1) // 2, n // 2
        if midpoint and low != high:
            rows = sorted_rows(stack, [low, high])
            return mean_of([rows[low], rows[high]])
        return sorted_rows(stack, [low])[low]

    return aggregate(by_pieces(rule), updates, layerwise)


def trimmed_mean(updates: Updates, f: int, *, layerwise: bool = False) -> Aggregate:
    """Coordinate-wise mean of what is left without the f smallest and the f largest values.

    (1 / (n - 2f)) Σ_{i = f + 1}^{n - f} x_(i) of the values x_(1) ≤ ... ≤ x_(n) of a coordinate.

    Args:
      updates: (n, d), or a pytree of leaves (n, ...).
      f: number of Byzantine rows tolerated.
      layerwise: aggregate each leaf alone.

    Returns:
      (d,), or the pytree without its worker axis.

    Raises:
      ValueError: n < 2f + 1.

    Cost: one sorting network; a sort above 128 rows.
    Reference: Yin et al., Byzantine-robust distributed learning, ICML 2018.
    Convention: some implementations are told a share β of the rows to cut at each end, instead of
      their number f = β n.
    """

    def rule(stack: jax.Array) -> jax.Array:
        n = len(stack)
        require("trimmed_mean", n, f, 2, 1)
        rows = sorted_rows(stack, range(f, n - f), [range(f, n - f)])
        return mean_of(rows[f : n - f])

    return aggregate(by_pieces(rule), updates, layerwise)


def trimmed_mean_with_copies(stack: jax.Array, row: jax.Array, copies: int, f: int) -> jax.Array:
    """`trimmed_mean` (d,) of the rows (n, d) and as many copies of one more (d,), by the network of
    the n rows alone.

    What is neither among the f smallest nor the f largest of the rows stays, wherever the copies
    land; as many values as there are copies stay besides, in the middle of the copies and the
    rows' ends. The k-th smallest of sorted values y and c copies of x is min(y_k, max(x, y_k-c)).
    """
    n = len(stack)
    require("trimmed_mean", n, f, 2, 1)
    end = min(copies, f)
    low, middle, high = range(f - end, f), range(f, n - f), range(n - f, n - f + end)
    rows = sorted_rows(stack, [*low, *middle, *high], [middle])
    ends = [rows[rank] for rank in (*low, *high)]
    kept = [rows[rank] for rank in middle]
    for k in range(end, end + copies):
        value = row if k < copies else jnp.maximum(row, ends[k - copies])
        kept.append(jnp.minimum(ends[k], value) if k < 2 * end else value)
    return mean_of(kept)


def phocas(updates: Updates, f: int, *, layerwise: bool = False) -> Aggregate:
    """Coordinate-wise mean of the n - f values closest to the trimmed mean.

    (1 / (n - f)) Σ x_i over the n - f values of least |x_i - t|, t the trimmed mean.

    Args:
      updates: (n, d), or a pytree of leaves (n, ...).
      f: number of Byzantine rows tolerated.
      layerwise: aggregate each leaf alone.

    Returns:
      (d,), or the pytree without its worker axis.

    Raises:
      ValueError: n < 2f + 1.

    Cost: one sorting network and f comparisons a coordinate; a sort above 128 rows.
    Reference: Xie et al., Phocas: dimensional Byzantine-resilient SGD, 2018.
    Convention: of two values equally far on both sides, the smaller one is kept.
    """

    def rule(stack: jax.Array) -> jax.Array:
        n = len(stack)
        require("phocas", n, f, 2, 1)
        rows = sorted_rows(stack, sets=[range(f, n - f)])
        trimmed = rows[f : n - f]
        # A sum written out would be fused into each comparison with it, and summed anew for each.
        many = n > MAX_NETWORK_ROWS
        center = jnp.mean(jnp.stack(trimmed), axis=0) if many else mean_of(trimmed)
        return mean_of_closest(rows, center, n - f)

    return aggregate(by_pieces(rule), updates, layerwise)


def meamed(
    updates: Updates, f: int, *, midpoint: bool = False, layerwise: bool = False
) -> Aggregate:
    """Mean around the median: coordinate-wise mean of the n - f values closest to the median.

    (1 / (n - f)) Σ x_i over the n - f values of least |x_i - med|.

    Args:
      updates: (n, d), or a pytree of leaves (n, ...).
      f: number of Byzantine rows tolerated.
      midpoint: which median is meant for an even n, as in `median`.
      layerwise: aggregate each leaf alone.

    Returns:
      (d,), or the pytree without its worker axis.

    Raises:
      ValueError: n < 2f + 1.

    Cost: as `phocas`.
    Reference: Xie et al., Generalized Byzantine-tolerant SGD, 2018.
    Convention: of two values equally far on both sides, the smaller one is kept (the paper's
      program and ByzFL keep the earlier row, or whichever their partition leaves).
    """

    def rule(stack: jax.Array) -> jax.Array:
        n = len(stack)
        require("meamed", n, f, 2, 1)
        low, high = (n - 1) // 2, n // 2
        rows = sorted_rows(stack, sets=[range(f, low), range(high + 1, n - f)])
        center = mean_of([rows[low], rows[high]]) if midpoint and low != high else rows[low]
        return mean_of_closest(rows, center, n - f)

    return aggregate(by_pieces(rule), updates, layerwise)


# Coordinates of a piece.
PIECE = 512


def by_pieces(rule: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """A rule of each coordinate alone, (n, d) -> (d,), applied to one piece of them after the other
    where there are many rows and the device is a CPU.

    The loop copies each piece into the cache first: above 64 rows, of which a network reads a few
    values of all at a time, that mostly takes less time, up to 64 rows more (docs/speed-rules.md).
    A sort needs memory for a piece alone.
    """

    def whole(stack: jax.Array) -> jax.Array:
        n, d = stack.shape
        few = n <= MAX_ORDERED_ROWS or d <= PIECE
        if few or in_mesh() or jax.default_backend() != "cpu":
            return rule(stack)

        def turn(turn: jax.Array, row: jax.Array) -> jax.Array:
            # The last piece is moved back to stay inside: it repeats a part of the one before.
            start = jnp.minimum(turn * PIECE, d - PIECE)
            piece = rule(jax.lax.dynamic_slice_in_dim(stack, start, PIECE, axis=1))
            return jax.lax.dynamic_update_slice_in_dim(row, piece, start, axis=0)

        empty = first_carry(jnp.zeros(d, stack.dtype), stack)
        return jax.lax.fori_loop(0, -(-d // PIECE), turn, empty)

    return whole


def mean_of(rows: Sequence[jax.Array]) -> jax.Array:
    """The mean of a list of arrays, summed in at least float32."""
    dtype = rows[0].dtype
    return (sum_rows(rows) / len(rows)).astype(dtype)


def mean_of_closest(rows: Sequence[jax.Array], center: jax.Array, count: int) -> jax.Array:
    """Coordinate-wise mean of the `count` values closest to a centre, from rows sorted in each
    coordinate; those that are kept in any case, from len(rows) - count to count, may be in any
    order.

    The closest values are neighbours in sorted order: they fill one of the windows [j, j + count).
    Sliding the window from j to j + 1 puts value j + count in the place of value j, which pays
    while the former is closer; that holds for the first few j and then never again. Selecting with
    `where`, rather than adding and subtracting, keeps a value of 1e30 outside the window from
    eating the digits inside it.
    """
    slides = len(rows) - count
    if len(rows) > MAX_NETWORK_ROWS:
        stack, place = jnp.stack(rows), jnp.arange(len(rows))[:, None]
        begin = jnp.sum(stack[count:] - center[None] < center[None] - stack[:slides], axis=0)[None]
        inside = jnp.where((begin <= place) & (place < begin + count), stack, 0)
        dtype = jnp.promote_types(stack.dtype, jnp.float32)
        return (jnp.sum(inside, axis=0, dtype=dtype) / count).astype(stack.dtype)
    kept = list(rows[:count])
    for j in range(slides):
        pays = rows[j + count] - center < center - rows[j]
        kept[j % count] = jnp.where(pays, rows[j + count], kept[j % count])
    # Those that are kept anyway are summed first: they need not wait in registers for the others.
    return (sum_rows(kept[slides:] + kept[:slides]) / count).astype(rows[0].dtype)
