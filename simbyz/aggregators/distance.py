"""Rules that choose rows by their distances to each other.

Non-finite values: a distance that is not finite counts as +inf, so at most f rows of NaN, ±inf or
1e38 are never chosen, whatever size the others have, from 1e-36 to 1e38: distances are in a unit in
which the middle row has a square. They are blanked, never multiplied by a weight of 0 (0 · inf is
NaN).
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import flag, integer, require
from simbyz._arrays.chunks import first_carry
from simbyz._arrays.geometry import squared_distances
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.moments import bearable, means_of_chosen
from simbyz._arrays.ranks.closest import (
    bounds_of_closest,
    mean_of_closest,
    shares_between,
)
from simbyz._arrays.ranks.many_rows import mean_of_nearest
from simbyz._arrays.ranks.order_statistics import (
    MAX_NETWORK_ROWS,
    MAX_ORDERED_ROWS,
    fits_network,
    sorted_columns,
    sorted_rows,
)
from simbyz._arrays.ranks.pieces import by_pieces
from simbyz._arrays.redo import are_finite
from simbyz._arrays.scales import hidden_part, made_whole, nan_as_inf, wide
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.base import mean_of_some

__all__ = [
    "bulyan",
    "bulyan_selection",
    "krum",
    "krum_selection",
    "multi_krum",
    "multi_krum_selection",
]


def _krum(
    updates: Updates, f: int, *, neighbours: int | None = None, squared: bool = True
) -> Halves:
    """The one row closest to its neighbours: argmin_i Σ_{j in the k nearest others of i} ||x_i -
    x_j||².

    Args:
      neighbours: k, from 1 to n - 1; n - f - 2 if None.
      squared: sum squared distances; plain ones if False.

    Returns:
      The aggregate. Of equal scores the earlier row wins.

    Raises:
      ValueError: n < 2f + 3, or neighbours out of range.

    Weights: 1 for the chosen row, else 0.
    Cost: one n × n × d matrix product.
    Reference: Blanchard et al., Machine learning with adversaries, NeurIPS 2017.
    Convention: published Krum is the default. ByzFL: neighbours = n - f - 1. The released program
      of Distributed Momentum (ICLR 2021): neighbours = n - f - 1, squared = False (and it averages
      n - f - 2 rows: see `multi_krum`).
    """
    stack, unravel = ravel(updates)
    chosen = jnp.argmin(_krum_scores("krum", stack, f, neighbours, squared))
    return Halves(lambda: unravel(stack[chosen]), lambda: jnp.zeros(len(stack)).at[chosen].set(1))


krum, krum_selection = halves(_krum)


def _multi_krum(
    updates: Updates,
    f: int,
    *,
    m: int | None = None,
    neighbours: int | None = None,
    squared: bool = True,
) -> Halves:
    """The mean of the m rows of lowest Krum score.

    (1/m) Σ x_i over the m rows of least Σ_{j in the k nearest others of i} ||x_i - x_j||².

    Args:
      m: rows averaged, from 1 to n - f; n - f - 2 if None.
      neighbours, squared: as in `krum`.

    Returns:
      The aggregate. Of equal scores the earlier rows win.

    Raises:
      ValueError: n < 2f + 3, m or neighbours out of range.

    Weights: 1/m for a chosen row, else 0.
    Cost: one n × n × d matrix product.
    Reference: Blanchard et al., Machine learning with adversaries, NeurIPS 2017.
    Convention: m = n - f - 2 is the released program's and AggregaThor's; ByzFL: m = n - f and
      neighbours = n - f - 1; the released program of Distributed Momentum: neighbours = n - f - 1,
      squared = False.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    scores = _krum_scores("multi_krum", stack, f, neighbours, squared)
    m = _within("multi_krum", "m", n - f - 2 if m is None else m, n - f, n, f)
    return mean_of_some(stack, jnp.argsort(scores)[:m], unravel)


multi_krum, multi_krum_selection = halves(_multi_krum)


def _bulyan(
    updates: Updates,
    f: int,
    *,
    m: int | None = None,
    variant: Literal["published", "released"] = "published",
) -> Halves:
    """Krum, several times over, then a mean around the median of what it chose.

    published: θ = n - 2f rows are picked one at a time by Krum among the rows not picked yet (with
    r of them left, by squared distances to the r - f - 2 nearest, at least one).
    released: θ = n - 2f - 2 vectors; the i-th, from 0, is the mean of the min(m, n - f - 2 - i)
    rows of lowest score after the i lowest were dropped, the score being the sum of the m smallest
    plain distances to all others.
    Both: in each coordinate, the mean of the θ - 2f values closest to the lower median of the θ.

    Args:
      m: released variant only: from 1 to n - f - 2, which is the default.
      variant: "published" or "released".

    Raises:
      ValueError: n < 4f + 3, an unknown variant, m out of range or given to the published variant.

    Weights: shares as of the mean around the median (see coordinate.py), passed on from each of the
      θ vectors to the rows that it is the mean of.
    Cost: one n × n × d matrix product and one sorting network.
    Reference: El-Mhamdi et al., The hidden vulnerability of distributed learning in Byzantium, ICML
      2018.
    Convention: "released" is what the released program of Distributed Momentum (ICLR 2021)
      computes. It was meant to update the scores after each pick and does not.
    """
    stack, unravel = ravel(updates)
    of_rows, chosen = _bulyan_vectors(stack, f, m, variant)
    dtype, stack = stack.dtype, wide(stack)  # of half precision no vector is rounded, nor distance
    theta = len(chosen.members)
    middle, count = (theta - 1) // 2, theta - 2 * f

    def of_few(rows: jax.Array | list[jax.Array]) -> jax.Array:
        rows = sorted_rows(rows)
        return mean_of_closest(rows, rows[middle], count)

    def of_many(vectors: jax.Array) -> jax.Array:
        vectors = nan_as_inf(vectors)
        return mean_of_nearest(vectors, sorted_rows(vectors, [middle])[middle], count)

    def aggregate() -> jax.Array:
        vectors = of_rows(stack, chosen)
        few = fits_network(theta, range(theta))
        return of_few(vectors) if few else by_pieces(of_many)(jnp.asarray(vectors))

    def weights() -> jax.Array:
        vectors = jnp.stack(list(of_rows(bearable(stack), chosen)))
        rows = sorted_rows(vectors)
        shares = shares_between(vectors, *bounds_of_closest(rows, rows[middle], count))
        each = chosen.members / jnp.sum(chosen.members, axis=1, keepdims=True)
        return jnp.sum(shares[:, None] * each, axis=0)

    return Halves(lambda: unravel(aggregate().astype(dtype)), weights)


bulyan, bulyan_selection = halves(_bulyan)


class _Chosen(NamedTuple):
    """The rows (θ,) that Krum picks, or all (n,) in the order of their scores, and of which rows
    each of the θ vectors is the mean, (θ, n) booleans.
    """

    order: jax.Array
    members: jax.Array


def _bulyan_vectors(
    stack: jax.Array, f: int, m: int | None, variant: str
) -> tuple[Callable[[jax.Array, _Chosen], jax.Array | list[jax.Array]], _Chosen]:
    """What makes the θ vectors of the rows, (θ, d) or a list of them, and of which rows."""
    n = len(stack)
    require("bulyan", n, f, 4, 3)
    squares = squared_distances(stack)
    if variant == "published":
        if m is not None:
            raise ValueError(f"bulyan takes m in its released variant only, got m={m}")
        picked = _pick_one_by_one(squares, f)
        members = picked[:, None] == jnp.arange(n)[None, :]
        return _picked_rows, _Chosen(picked, members)
    if variant == "released":
        count = _within("bulyan", "m", n - f - 2 if m is None else m, n - f - 2, n, f)
        order = jnp.argsort(_sum_of_nearest(jnp.sqrt(squares), count))
        place = jnp.argsort(order)  # of each row in the order of scores
        first = jnp.arange(n - 2 * f - 2)
        last = jnp.minimum(first + count, n - f - 2)
        members = (place[None, :] >= first[:, None]) & (place[None, :] < last[:, None])
        if len(first) <= MAX_ORDERED_ROWS and n <= MAX_NETWORK_ROWS and count == n - f - 2:
            return _means_of_rests, _Chosen(order[:count], members)
        return _means_of_members, _Chosen(order, members)
    raise ValueError(f'bulyan knows the variants "published" and "released", got {variant!r}')


def _picked_rows(stack: jax.Array, chosen: _Chosen) -> jax.Array | list[jax.Array]:
    few = len(stack) <= MAX_NETWORK_ROWS
    return [stack[row] for row in chosen.order] if few else stack[chosen.order]


def _means_of_members(stack: jax.Array, chosen: _Chosen) -> jax.Array:
    means = means_of_chosen(stack, chosen.members, are_finite(stack))
    # One that is infinite was only rounded to that.
    most = jnp.finfo(means.dtype).max
    return jnp.clip(means, -most, most)


def _means_of_rests(stack: jax.Array, chosen: _Chosen) -> list[jax.Array]:
    """The means of the rows from each of the first θ places in the order on, by a running sum from
    the end.
    """
    rows = [wide(stack[row]) for row in chosen.order]
    part = hidden_part(len(rows), rows[0].dtype)
    means, total = [], jnp.zeros_like(rows[0])
    for i in reversed(range(len(rows))):
        total = total + rows[i] * part
        means.append(made_whole(total, (len(rows) - i) * part).astype(stack.dtype))
    return means[::-1][: len(chosen.members)]


def _krum_scores(
    rule: str, stack: jax.Array, f: int, neighbours: int | None, squared: bool
) -> jax.Array:
    n = len(stack)
    f = require(rule, n, f, 2, 3)
    neighbours = n - f - 2 if neighbours is None else neighbours
    neighbours = _within(rule, "neighbours", neighbours, n - 1, n, f)
    squared, distances = flag("squared", squared), squared_distances(stack)
    scores = _sum_of_nearest(distances if squared else jnp.sqrt(distances), neighbours)
    # Where all scores are infinite, at most f rows that are infinitely far from all are no choice.
    somewhere = jnp.any(jnp.isfinite(_without_self(distances)), axis=1)
    others = somewhere & (jnp.sum(~somewhere) <= f)
    return jnp.where(others, jnp.minimum(scores, jnp.finfo(scores.dtype).max), scores)


def _within(rule: str, name: str, value: int, most: int, n: int, f: int) -> int:
    value = integer(name, value)
    if not 1 <= value <= most:
        raise ValueError(f"{rule} needs 1 <= {name} <= {most}, got {name}={value}, n={n}, f={f}")
    return value


def _without_self(distances: jax.Array) -> jax.Array:
    return jnp.where(jnp.eye(len(distances), dtype=bool), jnp.inf, distances)


def _sum_of_nearest(distances: jax.Array, count: int) -> jax.Array:
    return jnp.sum(sorted_columns(_without_self(distances).T)[:count].T, axis=1)


def _pick_one_by_one(squares: jax.Array, f: int) -> jax.Array:
    """The n - 2f rows that repeated Krum picks, each row's others sorted once and then only
    masked.
    """
    n = len(squares)
    squares = _without_self(squares)
    nearest = jnp.argsort(squares, axis=1)
    ascending = jnp.take_along_axis(squares, nearest, axis=1)
    largest = jnp.finfo(squares.dtype).max

    def pick(left: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
        still = left[nearest]
        used = still & (jnp.cumsum(still, axis=1) <= count)
        scores = jnp.sum(jnp.where(used, ascending, 0), axis=1)
        # A row that is left beats a picked one, even with an infinite score.
        row = jnp.argmin(jnp.where(left, jnp.minimum(scores, largest), jnp.inf))
        return left.at[row].set(False), row

    counts = jnp.asarray([max(n - i - f - 2, 1) for i in range(n - 2 * f)])
    _, picked = jax.lax.scan(pick, first_carry(jnp.ones(n, dtype=bool), squares), counts)
    return picked
