"""Rules that join rows into clusters by direction, and average one of them, shortened.

Non-finite values: a row that is not finite, or (in float32) some 1e19 times as long as the middle
one, is in no cluster and is never averaged.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import not_negative, random_key, require
from simbyz._arrays.chunks import first_carry, sum_over_chunks
from simbyz._arrays.geometry import lower_gram, mirrored
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.lengths import Lengths, lengths_to, safe_sqrt
from simbyz._arrays.moments import weighted_mean
from simbyz._arrays.stacking import PyTree, Updates, ravel

__all__ = [
    "clipped_clustering",
    "clipped_clustering_selection",
    "flame",
    "flame_selection",
    "remember_norms",
]


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
      ValueError: n < 2f + 1, an unknown linkage, or a history that is not floats (k,).

    Weights: 1/m for each of m rows of the cluster, clipped as they are.
    Cost: one n × n × d matrix product, two passes over the stack, and n steps on an n × n matrix.
    Reference: Li, Ngai and Voigt, An experimental study of Byzantine-robust aggregation schemes in
      federated learning, IEEE Transactions on Big Data, 2024.
    Convention: as in Blades, by the same authors, which keeps the whole history inside and gives a
      row of NaN the distance 2 from all: it then fills one of the two clusters alone.
    """
    stack, unravel = ravel(updates)
    require("clipped_clustering", len(stack), f, 2, 1)
    if linkage not in ("average", "single"):
        raise ValueError(
            f'clipped_clustering knows the linkages "average" and "single", got {linkage!r}'
        )
    lengths = lengths_to(None, stack)
    norms = jnp.where(lengths.finite, lengths.values, jnp.inf)
    before = [] if history is None else [_known_norms(history).astype(norms.dtype) * lengths.unit]
    chosen = _larger_cluster(_angles(stack, lengths), lengths.finite, linkage)
    middle = median_of_known(jnp.concatenate([norms, *before]))
    return Halves(
        lambda: unravel(_mean_of_shortened(stack, norms, middle, chosen).astype(stack.dtype)),
        lambda: chosen / jnp.maximum(jnp.sum(chosen), 1),
    )


clipped_clustering, clipped_clustering_selection = halves(_clipped_clustering)


def _flame(
    updates: Updates,
    f: int,
    *,
    noise: float | jax.Array = 0.0,
    key: jax.Array | None = None,
) -> Halves:
    """The mean of the first cluster of more than half of the rows, shortened to the median norm M.

    The two nearest clusters are joined first, as far apart as their nearest rows are, and rows
    1 - cos(x_i, x_j) apart, until one holds ⌊n/2⌋ + 1 rows. The result is the mean of
    min(1, M / ||x_i||) x_i over that cluster, M being the median of all norms, plus a normal draw
    of deviation noise · M in each coordinate.

    Args:
      noise: λ, 0 or more, may be traced; √(2 ln(1.25/δ)) / ε of the paper.
      key: of the draw; needed for a noise other than 0. The simulator gives that of the step.

    Returns:
      The aggregate; zeros if no row is finite. The choice carries no derivative, the clipping does.

    Raises:
      ValueError: n < 2f + 1, a noise that is negative or NaN (if not traced), or other than 0
        without a key.

    Weights: 1/m for each of m rows of the cluster, clipped as they are.
    Cost: one n × n × d matrix product, two passes over the stack, and n steps on an n × n matrix.
    Reference: Nguyen et al., FLAME: taming backdoors in federated learning, USENIX Security 2022,
      whose text was not at hand.
    Convention: the cluster is that of HDBSCAN of a least size of ⌊n/2⌋ + 1 with a single cluster
      allowed, as in FLPoison and CRYPTO-KU's library. FLPoison takes angles between the workers'
      models instead of their updates, and noise in proportion to each layer's own deviation. Rows
      that are not finite are in no cluster, but count in n and as infinitely long in M.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    require("flame", n, f, 2, 1)
    not_negative("flame", "noise", noise)
    silent = not isinstance(noise, jax.core.Tracer) and bool(np.all(np.asarray(noise) == 0))
    if key is None and not silent:
        raise ValueError("flame needs a key for a noise other than 0")
    if key is not None:
        random_key("flame", key)
    lengths = lengths_to(None, stack)
    norms = jnp.where(lengths.finite, lengths.values, jnp.inf)
    middle = median_of_known(norms)
    cluster, sizes = _joined(
        _angles(stack, lengths),
        lengths.finite,
        "single",
        lambda sizes, left: (left > 1) & (jnp.max(sizes) <= n // 2),
    )
    chosen = lengths.finite & (cluster == cluster[jnp.argmax(sizes[cluster] * lengths.finite)])

    def aggregate() -> jax.Array:
        mean = _mean_of_shortened(stack, norms, middle, chosen)
        if key is not None and not silent:
            drawn = jax.random.normal(key, mean.shape, mean.dtype)
            mean = mean + noise * (middle / lengths.unit) * drawn
        return mean.astype(stack.dtype)

    return Halves(lambda: unravel(aggregate()), lambda: chosen / jnp.maximum(jnp.sum(chosen), 1))


flame, flame_selection = halves(_flame)


def remember_norms(history: jax.Array | np.ndarray, updates: PyTree) -> jax.Array:
    """The history (k,) for the next call: with the norms of these rows, without the oldest ones.

    Start from jnp.full(k, jnp.nan), with room for k = steps · n norms to forget none.

    Raises:
      ValueError: a history that is not floats (k,).
    """
    stack, _ = ravel(updates)
    lengths = lengths_to(None, stack)
    norms = jnp.where(lengths.finite, lengths.values, jnp.inf) / lengths.unit
    history = _known_norms(history)
    return jnp.concatenate([history, norms.astype(history.dtype)])[len(stack) :]


def _known_norms(history: jax.Array | np.ndarray) -> jax.Array:
    """The history as an array.

    Raises:
      ValueError: it is not floats (k,): ints would cut the norms that are added.
    """
    known = jnp.asarray(history)
    if known.ndim != 1 or not jnp.issubdtype(known.dtype, jnp.floating):
        raise ValueError(
            f"the history must be norms (k,), floats, such as jnp.full(k, jnp.nan), got "
            f"{known.dtype} of shape {known.shape}"
        )
    return known


def _mean_of_shortened(
    stack: jax.Array, norms: jax.Array, bound: jax.Array, chosen: jax.Array
) -> jax.Array:
    """The mean (d,) of the chosen rows, none longer than a bound (), in the norms' unit."""
    clipped = jnp.where(chosen, jnp.minimum(1, bound / norms), 0)
    return weighted_mean(stack, clipped, jnp.maximum(jnp.sum(chosen), 1))


def median_of_known(values: jax.Array) -> jax.Array:
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
    cluster, _ = _joined(apart, valid, linkage, lambda sizes, left: left > 2)
    first = valid & (cluster == cluster[jnp.argmax(valid)])
    second = valid & ~first
    return jnp.where(jnp.sum(second) > jnp.sum(first), second, first)


def _joined(
    apart: jax.Array,
    valid: jax.Array,
    linkage: str,
    goes_on: Callable[[jax.Array, jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Which cluster each row is in, (n,), and how many rows a cluster of that number has, (n,),
    after the two nearest were joined as long as it goes on with (sizes (n,), clusters left ()).
    """
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
        more = goes_on(sizes, left)
        return (
            jnp.where(more, after, apart),
            jnp.where(more, sizes.at[i].add(sizes[j]), sizes),
            jnp.where(more & (cluster == j), i, cluster),
            left - more,
        )

    start = (jnp.where(pairs, apart, jnp.inf), jnp.ones(n, apart.dtype), rows, jnp.sum(valid))
    start = first_carry(start, apart)
    _, sizes, cluster, _ = jax.lax.fori_loop(0, n - 1, join, start)
    return cluster, sizes
