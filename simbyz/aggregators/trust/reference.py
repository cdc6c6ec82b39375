"""Rules that decide by a reference: an update the server trusts, the signs of most rows, or rows of
the server's own making.

Non-finite values: a row that is not finite, or (in float32) some 1e19 times as long as the middle
one, is blanked and has weight 0. Each rule says what it does where nothing is left to average.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import name_of, require_rule
from simbyz._arrays.checks import (
    integer,
    needs_at_least,
    not_negative,
    number,
    random_key,
    require,
    require_shape,
)
from simbyz._arrays.chunks import sum_over_chunks
from simbyz._arrays.geometry import full_product, squared_norms
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.lengths import lengths_to, safe_sqrt, whole_share
from simbyz._arrays.moments import weighted_mean
from simbyz._arrays.ranks.order_statistics import MAX_NETWORK_ROWS
from simbyz._arrays.redo import redo_if
from simbyz._arrays.scales import are_usual, unit_of_rows, unit_where_unusual, wide
from simbyz._arrays.stacking import Row, Updates, ravel, row_like
from simbyz.aggregators.coordinate import trimmed_mean, trimmed_mean_with_copies
from simbyz.aggregators.spectral import draw_coordinates

__all__ = [
    "fltrust",
    "fltrust_selection",
    "foundation_fl",
    "foundation_fl_selection",
    "signguard",
    "signguard_selection",
]


def _fltrust(updates: Updates, f: int = 0, *, trusted: Row) -> Halves:
    """Rows weighted by their cosine with a trusted update, and scaled to its norm.

    Σ w_i (||g|| / ||x_i||) x_i / Σ w_i with w_i = max(0, cos(x_i, g)), g the trusted update.

    Args:
      f: number of Byzantine rows tolerated; only checked: any number is, if g is good.
      trusted: g, (d,) or a pytree like the result, as computed by the server on its own data.

    Returns:
      The aggregate; zeros if no row has a positive cosine.

    Raises:
      ValueError: n < f + 1, or a trusted update of another shape.

    Weights: w_i / Σ w_i, of the scaled rows; all 0 if no w_i is positive.
    Cost: about three passes over the stack.
    Reference: Cao et al., FLTrust: Byzantine-robust federated learning via trust bootstrapping,
      NDSS 2021.
    Convention: programs that send whole model states must leave buffers, such as running
      statistics, out of the cosine; here `updates` holds what the caller puts in.
    """
    stack, unravel = ravel(updates)
    require("fltrust", len(stack), f, 1, 1)
    trusted = row_like(trusted, updates, stack).astype(jnp.promote_types(stack.dtype, jnp.float32))
    scale = unit_where_unusual(trusted)
    trusted = trusted * scale
    length = safe_sqrt(jnp.sum(jnp.square(trusted)))
    norms = lengths_to(None, stack)
    # A row of zeros has no direction to turn.
    directed = norms.finite & (norms.values > safe_sqrt(jnp.zeros_like(norms.values)))
    norms = norms._replace(values=jnp.where(directed, norms.values, 1))
    # By a vector of length 1, so that no product is larger than a norm.
    along = _along(stack, trusted / length * norms.unit, directed)
    cosines = jnp.maximum(along / norms.values, 0)
    total = jnp.sum(cosines)
    weights = cosines / jnp.where(total > 0, total, 1)

    def aggregate() -> jax.Array:
        whole = whole_share(norms.unit)
        factors = weights * (length / norms.values) * (norms.unit * whole)
        return (weighted_mean(stack, factors, whole) / scale).astype(stack.dtype)

    return Halves(lambda: unravel(aggregate()), lambda: jax.lax.stop_gradient(weights))


fltrust, fltrust_selection = halves(_fltrust)


def _signguard(
    updates: Updates,
    f: int,
    *,
    lower: float | jax.Array = 0.1,
    upper: float | jax.Array = 3.0,
    sample: int | None = None,
    key: jax.Array | None = None,
) -> Halves:
    """The mean of rows of usual norm and usual signs, each clipped to the median norm M.

    Usual norm: lower M <= ||x_i|| <= upper M. Usual signs: a row's shares of positive, zero and
    negative coordinates are a point in space; the points are split by 2-means and the larger
    cluster is kept (if equal, the one of more negative signs).

    Args:
      lower, upper: 0 <= lower <= 1 <= upper, so that some row has a usual norm; upper may be
        infinite. May be traced.
      sample: count signs in that many coordinates, drawn with `key` as in `dnc`; in all of them if
        None. The authors draw a tenth.
      key: draws the sample; of no use without one.

    Returns:
      The aggregate. M is the lower median of all n norms. If no row has usual norm and signs, the
      rows of usual norm are averaged; zeros if no row has, as traced bounds may have it. The choice
      carries no derivative; the clipping does.

    Raises:
      ValueError: n < 2f + 1, a sample not from 1 to d, or without a key; bounds out of their ranges
        (if not traced).

    Weights: 1/m for each of m chosen rows, clipped as they are.
    Cost: about seven passes over the stack.
    Reference: Xu et al., Byzantine-robust federated learning through collaborative malicious
      gradient filtering, ICDCS 2022.
    Convention: the authors cluster by mean shift, fedlib by 2-means from random centres; here
      2-means starts from the points of smallest and largest difference of positive and negative
      shares, and makes 10 rounds. An outlier of small share is so split off only if most rows
      agree; without any attack up to half of the rows are dropped, as in fedlib.
    """
    stack, unravel = ravel(updates)
    n, d = stack.shape
    require("signguard", n, f, 2, 1)
    if sample is not None and key is None:
        raise ValueError("signguard takes a sample together with a key that draws it")
    not_negative("signguard", "lower", lower)
    not_negative("signguard", "upper", upper)
    number("lower of signguard", lower, "at most 1", lambda one: one <= 1)
    number("upper of signguard", upper, "at least 1", lambda one: one >= 1)
    norms, _, finite = lengths_to(None, stack)
    ordered = jnp.sort(jnp.where(finite, norms, jnp.inf))
    middle = ordered[(n - 1) // 2]
    usual_norm = finite & (lower * middle <= norms) & (norms <= upper * middle)
    seen = jax.lax.stop_gradient(stack)
    if sample is not None and key is not None:
        random_key("signguard", key)
        sample = integer("sample", sample)
        if not 1 <= sample <= d:
            raise ValueError(f"signguard needs 1 <= sample <= {d}, got sample={sample}")
        seen = seen[:, draw_coordinates(key, d, sample)]
    both = usual_norm & _larger_cluster(_counts_of_signs(seen), finite)
    chosen = jnp.where(jnp.any(both), both, usual_norm)
    count = jnp.maximum(jnp.sum(chosen), 1)

    def aggregate() -> jax.Array:
        clipped = jnp.where(chosen, jnp.minimum(1, middle / norms), 0)
        return weighted_mean(stack, clipped, count).astype(stack.dtype)

    return Halves(lambda: unravel(aggregate()), lambda: chosen / count)


signguard, signguard_selection = halves(_signguard)


def _foundation_fl(
    updates: Updates,
    f: int,
    *,
    m: int | None = None,
    rule: Callable[[jax.Array, int], jax.Array] = trimmed_mean,
) -> Halves:
    """Another rule on the rows and m copies of the one that is farthest from the extremes.

    With the coordinate-wise maximum and minimum of the rows, s_i = min(||x_i - max||, ||x_i -
    min||); m copies of the row of largest s_i are added, and the rule sees n + m rows.

    Args:
      m: copies, at least 0; ⌊n / 2⌋ if None.
      rule: (stack, f) -> row; the paper's are `trimmed_mean` and `median`.

    Returns:
      The aggregate. Of equal s_i the earlier row is copied.

    Raises:
      ValueError: n < 2f + 1, m < 0, or what the rule raises for n + m rows.

    Weights: each row's share in what the rule sees, copies and all, their sum 1.
    Cost: about six passes over the stack, and the rule; `trimmed_mean` counts the copies instead of
      sorting them.
    Reference: Fang et al., Do we really need to design new Byzantine-robust aggregation rules?,
      NDSS 2025.
    Convention: m = ⌊n / 2⌋ is the paper's, CRYPTO-KU's library takes 2. f bad rows that disagree on
      the extremes can be copied themselves: then m + f of n + m rows are bad, and no rule helps.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    middle, copies = _most_central(stack, f, m)
    require_rule("foundation_fl", rule)

    def aggregate() -> jax.Array:
        if rule is trimmed_mean:
            return trimmed_mean_with_copies(stack, stack[middle], copies, f)
        copied = jnp.broadcast_to(stack[middle], (copies, stack.shape[1]))
        row = rule(jnp.concatenate([stack, copied]), f)
        require_shape(f"the rule {name_of(rule)}", row, stack.shape[1:], "an aggregate (d,)")
        return row

    return Halves(
        lambda: unravel(aggregate()), lambda: jnp.ones(n).at[middle].add(copies) / (n + copies)
    )


foundation_fl, foundation_fl_selection = halves(_foundation_fl)


@jax.custom_jvp
def _along(stack: jax.Array, direction: jax.Array, counted: jax.Array) -> jax.Array:
    """The product (n,) of each row that counts with a vector (d,), 0 of others.

    One product of the whole stack: to blank the others before it would copy the stack.
    """
    products = full_product(wide(stack), direction)
    return jnp.where(counted, products, 0)


@_along.defjvp
def _along_moves(
    primals: tuple[jax.Array, ...], tangents: tuple[Any, ...]
) -> tuple[jax.Array, jax.Array]:
    """The derivative has them blanked: by the vector, 0 · NaN would come back."""
    (stack, direction, counted), (moves, turns, _) = primals, tangents
    rows = wide(jnp.where(counted[:, None], stack, 0))
    moves = wide(jnp.where(counted[:, None], moves, 0))
    change = jnp.sum(rows * turns[None], axis=1) + jnp.sum(moves * direction[None], axis=1)
    return _along(*primals), change


def _counts_of_signs(rows: jax.Array) -> jax.Array:
    """The numbers of positive, zero and negative coordinates of each row, (n, 3): d times their
    shares, without rounding.
    """

    def counts(rows: jax.Array) -> jax.Array:
        return jnp.stack([jnp.sum(rows > 0, axis=1), jnp.sum(rows < 0, axis=1)])

    more, less = sum_over_chunks(counts, rows, jnp.zeros_like(rows[0]))
    return jnp.stack([more, rows.shape[1] - more - less, less], axis=1)


def _larger_cluster(points: jax.Array, valid: jax.Array) -> jax.Array:
    """Which of the valid points (n, 3) are in the larger one of two clusters, by 2-means."""
    order = points[:, 0] - points[:, 2]
    first = points[jnp.argmin(jnp.where(valid, order, jnp.inf))]
    last = points[jnp.argmax(jnp.where(valid, order, -jnp.inf))]

    def near_last(centers: tuple[jax.Array, jax.Array]) -> jax.Array:
        to_first, to_last = (jnp.sum(jnp.square(points - c[None]), axis=1) for c in centers)
        return to_last < to_first

    def mean(members: jax.Array, otherwise: jax.Array) -> jax.Array:
        count = jnp.sum(members)
        total = jnp.sum(jnp.where(members[:, None], points, 0), axis=0)
        return jnp.where(count > 0, total / jnp.maximum(count, 1), otherwise)

    def turn(_: jax.Array, centers: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        second = near_last(centers)
        return mean(valid & ~second, centers[0]), mean(valid & second, centers[1])

    second = near_last(jax.lax.fori_loop(0, 10, turn, (first, last)))
    more_in_second = jnp.sum(valid & second) > jnp.sum(valid & ~second)
    return valid & jnp.where(more_in_second, second, ~second)


def _most_central(stack: jax.Array, f: int, m: int | None) -> tuple[jax.Array, int]:
    """The row farthest from the nearer extreme, and the number of copies."""
    n = len(stack)
    require("foundation_fl", n, f, 2, 1)
    m = n // 2 if m is None else needs_at_least("foundation_fl", "m", m, 0)
    stack = wide(jax.lax.stop_gradient(stack))
    finite = jnp.isfinite(squared_norms(stack).values)
    highest = _extreme(jnp.maximum, stack, finite, -jnp.inf)
    lowest = _extreme(jnp.minimum, stack, finite, jnp.inf)

    def to_nearer(stack: jax.Array, extremes: jax.Array, unit: jax.Array | float) -> jax.Array:
        # A loop over the two: its input is an array, where XLA would find the extremes again for
        # each row.
        distances = jax.lax.map(
            lambda extreme: jnp.sum(jnp.square(stack * unit - (extreme * unit)[None]), axis=1),
            extremes,
        )
        return jnp.min(distances, axis=0)

    def in_unit(stack: jax.Array, extremes: jax.Array) -> jax.Array:
        return to_nearer(stack, extremes, unit_of_rows(stack, extremes[0]))

    extremes = jnp.stack([highest, lowest])
    squares = to_nearer(stack, extremes, 1.0)
    squares = redo_if(~are_usual(squares), squares, in_unit, stack, extremes)
    return jnp.argmax(jnp.where(finite, squares, -1)), m


def _extreme(pick: Any, stack: jax.Array, finite: jax.Array, otherwise: float) -> jax.Array:
    """The maximum or minimum (d,) of the finite rows; `pick` is jnp.maximum or jnp.minimum."""
    if len(stack) > MAX_NETWORK_ROWS:
        return pick.reduce(jnp.where(finite[:, None], stack, otherwise), axis=0)
    rows = [jnp.where(finite[i], row, otherwise) for i, row in enumerate(stack)]
    return functools.reduce(pick, rows)
