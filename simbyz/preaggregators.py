"""Pre-aggregators: stack -> stack, what is done to the workers' rows before a rule sees them.

Each is (updates, f, *, ...) -> updates: an (n, d) array or a pytree whose leaves have a leading
worker axis, and one again, with fewer rows after `bucketing`. `f` is the number of Byzantine rows
tolerated, checked against n. `simbyz.aggregators.chain` puts them in front of a rule.

The new rows are weighted sums of the given ones. `simbyz.aggregators.selection_of` gives these
weights, (m, n); of a chain, it multiplies them through.

Non-finite values: from at most f rows of NaN or ±inf come at most f rows that are not as they
should be, so a robust rule behind stays finite. Each function says what becomes of such rows.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import integer, not_negative, random_key, require
from simbyz._arrays.geometry import squared_distances
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.moments import means_of_chosen, sure_mean, sure_mean_rows
from simbyz._arrays.ranks.order_statistics import MAX_NETWORK_ROWS
from simbyz._arrays.redo import are_finite
from simbyz._arrays.scales import OwnLengths, own_lengths
from simbyz._arrays.stacking import PyTree, Updates, ravel


def _nearest_neighbor_mixing(updates: Updates, f: int) -> Halves:
    """NNM: every row becomes the mean of the n - f rows nearest to it, itself included.

    y_i = 1/(n - f) Σ_{j in N_i} x_j, N_i holding i and the n - f - 1 others with smallest
    ||x_i - x_j||.

    Returns:
      The rows. Of equally far rows the earlier one is taken. A row that is not finite is among its
      own nearest and becomes NaN; a finite row takes no such row while at most f of them are there.

    Raises:
      ValueError: n < 2f + 1.

    Cost: two n × n × d matrix products.
    Reference: Allouah et al., Fixing by mixing: a recipe for optimal Byzantine ML under
      heterogeneity, AISTATS 2023.
    Convention: all libraries count the row itself among the n - f; of equally far rows ByzFL takes
      those that argpartition leaves.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("nearest_neighbor_mixing", n, f, 2, 1)
    squares = squared_distances(stack)
    itself = jnp.eye(n, dtype=bool)
    # Nothing is nearer to a row than itself, not even its copy.
    nearest = jnp.argsort(jnp.where(itself, -1, squares), axis=1)[:, : n - f]
    chosen = jnp.zeros((n, n), dtype=bool).at[jnp.arange(n)[:, None], nearest].set(True)

    def mixed() -> jax.Array:
        # A row at a finite distance from another is finite: mostly that saves a pass over the
        # stack.
        near_one = jnp.any(jnp.isfinite(squares) & ~itself, axis=1)
        finite = jax.lax.cond(jnp.all(near_one), lambda: near_one, lambda: are_finite(stack))
        return means_of_chosen(stack, chosen, finite)

    return Halves(lambda: unravel(mixed()), lambda: chosen / (n - f))


nearest_neighbor_mixing = halves(_nearest_neighbor_mixing)[0]


def _clipping(updates: Updates, f: int = 0, *, radius: jax.typing.ArrayLike) -> Halves:
    """Every row is shortened to at most a given length: x_i · min(1, radius / ||x_i||).

    Args:
      radius: the greatest norm that is left alone, 0 or more; may be traced.

    Returns:
      The rows. A row that is not finite has no direction to keep and becomes zero. A finite one is
      shortened however long it is.

    Raises:
      ValueError: f < 0, or a radius that is negative or NaN (if not traced).

    Cost: three passes over the stack.
    Reference: Pascanu et al., On the difficulty of training recurrent neural networks, ICML 2013.
    Convention: ByzFL's radius is 2 unless given; here there is none to fall back on.
    """
    stack, unravel = ravel(updates)
    require("clipping", len(stack), f, 0, 1)
    not_negative("clipping", "radius", radius)
    lengths = own_lengths(stack)
    bound = jnp.asarray(radius, lengths.values.dtype)
    return _shortened(stack, lengths, bound, unravel)


clipping = halves(_clipping)[0]


def _adaptive_robust_clipping(updates: Updates, f: int) -> Halves:
    """ARC: the k longest rows are shortened to the length of the next one, k = ⌊2 (f/n) (n - f)⌋.

    Returns:
      The rows. A row that is not finite counts as the longest and becomes zero, as in `clipping`.
      As k >= f, f such rows do not set the length that the others are cut to.

    Raises:
      ValueError: n < 2f + 1.

    Cost: three passes over the stack.
    Reference: Allouah et al., Adaptive gradient clipping for robust federated learning, 2024
      (arXiv:2405.14432).
    Convention: k as in ByzFL, which asks for no n >= 2f + 1.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("adaptive_robust_clipping", n, f, 2, 1)
    lengths = own_lengths(stack)
    num_clipped = 2 * f * (n - f) // n
    norms = lengths.values / lengths.units
    # A small part of them all, where a row is too long for its norm to be a float.
    part = jnp.where(jnp.any(jnp.isfinite(lengths.values) & jnp.isinf(norms)), 2.0**-20, 1)
    bound = jnp.sort(lengths.values * (part / lengths.units))[n - 1 - num_clipped]
    return _shortened(stack, lengths._replace(units=lengths.units / part), bound, unravel)


adaptive_robust_clipping = halves(_adaptive_robust_clipping)[0]


def _bucketing(updates: Updates, f: int, *, key: jax.Array, bucket_size: int) -> Halves:
    """Rows in random order, then the mean of each s in a row; the last bucket may hold fewer.

    y_b = mean of x_π(bs), ..., x_π(bs + s - 1), with π = jax.random.permutation(key, n).

    One bad row spoils one bucket: among the ⌈n/s⌉ buckets, up to f are bad, and the rule behind
    must take that f with that many rows.

    Args:
      key: a jax.random key, a new one each time.
      bucket_size: s, from 1 to n.

    Returns:
      ⌈n/s⌉ rows. A bucket with a row that is not finite is not finite.

    Raises:
      ValueError: f < 0, or bucket_size out of range.

    Cost: two passes over the stack.
    Reference: Karimireddy et al., Byzantine-robust learning on heterogeneous datasets via
      bucketing, ICLR 2022.
    Convention: the incomplete last bucket is divided by the rows that it holds, as in ByzFL; others
      repeat rows until it is full.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("bucketing", n, f, 0, 1)
    bucket_size = integer("bucket_size", bucket_size)
    if not 1 <= bucket_size <= n:
        raise ValueError(
            f"bucketing needs 1 <= bucket_size <= {n}, got bucket_size={bucket_size}, n={n}, f={f}"
        )
    random_key("bucketing", key)
    order = jax.random.permutation(key, n)

    def weights() -> jax.Array:
        bucket = np.arange(n) // bucket_size  # of each place in the order
        members = np.arange(bucket[-1] + 1)[:, None] == bucket
        shares = members / members.sum(axis=1, keepdims=True)
        return jnp.zeros(shares.shape).at[:, order].set(shares)

    return Halves(lambda: unravel(mean_of_buckets(stack, order, bucket_size)), weights)


bucketing = halves(_bucketing)[0]


def mean_of_buckets(stack: jax.Array, order: jax.Array, bucket_size: int) -> jax.Array:
    """The mean of each `bucket_size` rows that follow each other in a given order.

    Args:
      stack: (n, d).
      order: (n,), a permutation of the row numbers.
      bucket_size: s, from 1 to n.

    Returns:
      (⌈n/s⌉, d); the last is the mean of the rows that are left.
    """

    def mean_of(members: jax.Array) -> jax.Array:
        if len(members) > MAX_NETWORK_ROWS:
            return sure_mean(stack[members])
        return sure_mean_rows([stack[member] for member in members])

    n = len(stack)
    full = n - n % bucket_size
    # One after the other: written out, they take up to five times as long on a CPU where runs are
    # side by side, and two to five times to compile.
    at_once = None if jax.default_backend() == "cpu" else n // bucket_size
    whole = jax.lax.map(mean_of, order[:full].reshape(-1, bucket_size), batch_size=at_once)
    return whole if full == n else jnp.concatenate([whole, mean_of(order[full:])[None]])


def _shortened(
    stack: jax.Array,
    lengths: OwnLengths,
    bound: jax.Array,
    unravel: Callable[[jax.Array], PyTree],
) -> Halves:
    """x_i, no longer than a bound, and zero where it is not finite."""
    finite = jnp.isfinite(lengths.values)
    units, ratios = lengths.factors(bound)

    def rows() -> jax.Array:
        kept = jnp.where(finite[:, None], stack, 0)
        return (kept * units[:, None] * ratios[:, None]).astype(stack.dtype)

    return Halves(lambda: unravel(rows()), lambda: jnp.diag(jnp.where(finite, units * ratios, 0)))


PREAGGREGATORS: dict[str, Callable[..., Any]] = {
    part.__name__: part
    for part in (nearest_neighbor_mixing, clipping, adaptive_robust_clipping, bucketing)
}
