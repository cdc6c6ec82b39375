"""Rules that look for the direction in which the rows vary most, and distrust who lies far along
it.

Everything is found from the squared distances D between the rows: with weights c of sum 1 and
μ = Σ c_i x_i, ⟨x_i - μ, x_j - μ⟩ = -(D_ij - (Dc)_i - (Dc)_j + cᵀDc) / 2. So one n × n × d matrix
product is enough for any number of weights, and eigenvectors are those of n × n matrices, exact.

Non-finite values: a row at a distance that is not finite from half of the others has weight 0.
"""

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import (
    floor_of_product,
    integer,
    not_negative,
    random_key,
    require,
    require_fixed,
)
from simbyz._arrays.chunks import first_carry
from simbyz._arrays.geometry import distances_between, squared_distances, squared_norms
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.base import mean_by

__all__ = ["caf", "caf_selection", "dnc", "dnc_selection", "filter_l2", "filter_l2_selection"]


def _caf(updates: Updates, f: int) -> Halves:
    """Covariance-bound agnostic filter: rows far along the top direction lose weight, again and
    again.

    With all c_i = 1, while Σ c_i > n - 2f: μ = Σ c_i x_i / Σ c_i, the top eigenvalue λ and its
    eigenvector v of Σ c_i (x_i - μ)(x_i - μ)ᵀ / Σ c_i, then c_i ← c_i (1 - τ_i / max τ) with τ_i =
    ⟨v, x_i - μ⟩², the maximum being over the rows with c_i > 0. The result is the μ of smallest λ.

    Returns:
      The aggregate. The weights carry no derivative.

    Raises:
      ValueError: n < 2f + 1.

    Weights: the c_i of the result, their sum 1.
    Cost: one n × n × d matrix product, and at most 2f eigendecompositions of an n × n matrix: every
      round takes all its weight from at least one row.
    Reference: Allouah et al., Towards trustworthy federated learning with untrusted participants,
      ICML 2025.
    Convention: ByzFL takes one power step from a random direction in place of the eigenvector, and
      its maximum of τ over all rows, those without weight too, so that it may never end; for f = 0
      it has no answer, here the mean.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("caf", n, f, 2, 1)
    squares, good = _clean(squared_distances(stack))
    start = good.astype(squares.dtype)
    Carry = tuple[jax.Array, jax.Array, jax.Array, jax.Array]

    def goes_on(carry: Carry) -> jax.Array:
        weights, _, _, turn = carry
        return (jnp.sum(weights) > n - 2 * f) & (turn < n)

    def turn(carry: Carry) -> Carry:
        weights, least, best, turn = carry
        value, shares = _top_direction(squares, weights)
        better = value < least
        fewer = jnp.where(weights > 0, weights * (1 - shares), 0)
        return fewer, jnp.where(better, value, least), jnp.where(better, weights, best), turn + 1

    # A while_loop has no reverse-mode derivative, and needs none: its input carries no derivative.
    infinity = first_carry(jnp.asarray(jnp.inf, squares.dtype), stack)
    _, _, best, _ = jax.lax.while_loop(goes_on, turn, (start, infinity, start, jnp.asarray(0)))
    return mean_by(best, jnp.sum(best), stack, unravel)


caf, caf_selection = halves(_caf)


def _filter_l2(updates: Updates, f: int, *, deviation: float | jax.Array = 0.0) -> Halves:
    """Spectral filter: rows far along the top direction lose weight until the rest varies little.

    With all c_i = 1, while the top eigenvalue λ of the weighted covariance is above deviation²:
    c_i ← c_i (1 - τ_i / max τ), λ, τ and the maximum as in `caf`, unless that would leave Σ c_i <
    n - 2f. The result is the weighted mean.

    Args:
      deviation: the largest deviation along any direction that honest rows are expected to have, 0
        or more, may be traced. With 0, all weight goes that may: the rule has no scale of its own.

    Returns:
      The aggregate. The weights carry no derivative.

    Raises:
      ValueError: n < 2f + 1, or a deviation that is negative or NaN (if not traced).

    Weights: the c_i of the result, their sum 1.
    Cost: as `caf`.
    Reference: Diakonikolas et al., Being robust (in high dimensions) can be practical, ICML 2017;
      Zhu et al., Byzantine-robust federated learning with optimal statistical rates, AISTATS 2023.
      Neither was at hand.
    Convention: where the honest rows have that deviation, no round takes more from them than from
      the bad ones, hence the bound 2f on what all rounds take. `caf` needs no deviation, and keeps
      the iterate of smallest λ instead of the last.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("filter_l2", n, f, 2, 1)
    not_negative("filter_l2", "deviation", deviation)
    distances, unit = distances_between(stack)
    squares, good = _clean(distances)
    bound = jnp.asarray(deviation, squares.dtype) * unit  # whose square may be no float
    Carry = tuple[jax.Array, jax.Array, jax.Array]

    def goes_on(carry: Carry) -> jax.Array:
        _, turn, stopped = carry
        return ~stopped & (turn < n)

    def turn(carry: Carry) -> Carry:
        weights, turn, _ = carry
        value, shares = _top_direction(squares, weights)
        fewer = jnp.where(weights > 0, weights * (1 - shares), 0)
        stops = ~(jnp.sqrt(value) > bound) | (jnp.sum(fewer) < n - 2 * f)
        return jnp.where(stops, weights, fewer), turn + 1, stops

    start = first_carry((good.astype(squares.dtype), jnp.asarray(False)), stack)
    weights, _, _ = jax.lax.while_loop(goes_on, turn, (start[0], jnp.asarray(0), start[1]))
    weights = jax.lax.stop_gradient(weights)
    return mean_by(weights, jnp.sum(weights), stack, unravel)


filter_l2, filter_l2_selection = halves(_filter_l2)


def _dnc(
    updates: Updates,
    f: int,
    *,
    key: jax.Array,
    iterations: int = 5,
    sample: int = 10_000,
    c: float = 1.0,
) -> Halves:
    """Divide and conquer: the mean of the rows that are never far along a top direction.

    Each iteration draws `sample` coordinates, takes the rows' mean μ and the top right singular
    vector v of the rows minus μ in them, and drops the ⌊c f⌋ rows of largest ⟨v, x_i - μ⟩². The
    result is the mean of the rows that no iteration dropped.

    Args:
      key: draws the coordinates.
      iterations: at least 1; one is enough, and is all that runs, where sample >= d.
      sample: coordinates drawn, at least 1; all of them where sample >= d.
      c: rows dropped for each Byzantine row tolerated, a Python number with c f < n.

    Returns:
      The aggregate. The choice carries no derivative.

    Raises:
      ValueError: n < 2f + 1, or iterations, sample or c out of range.

    Weights: 1/m for each of m kept rows.
    Cost: an n × n × sample matrix product for each iteration.
    Reference: Shejwalkar and Houmansadr, Manipulating the Byzantine, NDSS 2021.
    Convention: the defaults are fedlib's. The coordinates are one from each of `sample` even
      strata, where the authors draw all subsets alike: see `draw_coordinates`. The iterations may
      drop other rows each, and leave none: then fedlib returns zeros; here the rows dropped least
      often are averaged, which is the same set wherever some row is never dropped. Of equal rows
      the later are dropped. A row with a value that is not finite is dropped even if its coordinate
      is not drawn; a large finite value is seen only if its coordinate is drawn.
    """
    stack, unravel = ravel(updates)
    n, d = stack.shape
    f = require("dnc", n, f, 2, 1)
    iterations, sample = integer("iterations", iterations), integer("sample", sample)
    not_negative("dnc", "c", c)
    require_fixed("dnc", "c", c)
    random_key("dnc", key)
    dropped = floor_of_product(c, f) if c < n else n
    if iterations < 1 or sample < 1 or not 0 <= dropped < n:
        raise ValueError(
            "dnc needs iterations >= 1, sample >= 1 and 0 <= c f < n, got "
            f"iterations={iterations}, sample={sample}, c={c}, n={n}, f={f}"
        )
    rows = jax.lax.stop_gradient(stack)
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    finite = jnp.isfinite(squared_norms(rows).values)

    def keep(rows: jax.Array) -> jax.Array:
        """1 for the rows that this iteration keeps, 0 for the others, (n,)."""
        squares, good = _clean(squared_distances(rows))
        good = good & finite
        _, shares = _top_direction(squares, good.astype(squares.dtype))
        order = jnp.argsort(jnp.where(good, shares, jnp.inf))
        return jnp.zeros(n, dtype).at[order[: n - dropped]].set(1)

    def draw_and_keep(key: jax.Array) -> jax.Array:
        return keep(rows[:, draw_coordinates(key, d, sample)])

    if sample >= d:
        kept = keep(rows)
    else:
        votes = jnp.sum(jax.lax.map(draw_and_keep, jax.random.split(key, iterations)), axis=0)
        # Nor may a row that is not finite be kept least rarely, where c f is less than f.
        votes = jnp.where(finite, votes, -1)
        kept = (votes == jnp.max(votes)).astype(dtype)
    return mean_by(kept, jnp.sum(kept), stack, unravel)


dnc, dnc_selection = halves(_dnc)


def draw_coordinates(key: jax.Array, d: int, sample: int) -> jax.Array:
    """Distinct coordinates (sample,) of d, each as likely as any other to be among them.

    One from each of `sample` consecutive strata as equal as can be, all shifted by one random
    number, around the end. To draw all subsets alike takes a sort of d random numbers, 20 times as
    long on a CPU as all else that a rule does with the coordinates.
    """
    ends = np.arange(sample + 1) * d // sample
    within, around = jax.random.split(key)
    starts, sizes = jnp.asarray(ends[:-1]), jnp.asarray(np.diff(ends))
    places = starts + jax.random.randint(within, (sample,), 0, sizes)
    return (places + jax.random.randint(around, (), 0, d)) % d


def _clean(squares: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared distances (n, n) between the rows, and which rows (n,) are a finite distance away
    from most: all the others' distances are 0.
    """
    good = jnp.sum(jnp.isfinite(squares), axis=1) > len(squares) / 2
    # Sums of four distances must stay finite.
    squares = jnp.minimum(squares, jnp.finfo(squares.dtype).max / 16)
    return jnp.where(good[:, None] & good[None, :], squares, 0), good


def _top_direction(squares: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest eigenvalue λ of the weighted covariance, and τ_i / max τ (n,), the maximum being
    over the rows of positive weight: all 1 if λ is 0.
    """
    weights = weights / jnp.sum(weights)
    to_mean = jnp.sum(squares * weights[None], axis=1)
    inner = (to_mean[:, None] + to_mean[None, :] - squares - jnp.sum(weights * to_mean)) / 2
    roots = jnp.sqrt(weights)
    covariance = roots[:, None] * inner * roots[None, :]
    # To eigh as numbers around 1: it squares them.
    scale = jnp.max(jnp.diagonal(covariance))
    scale = jnp.where(scale > 0, scale, 1)
    values, vectors = jnp.linalg.eigh(covariance / scale)
    along = jnp.abs(jnp.sum(inner * (roots * vectors[:, -1])[None], axis=1))
    largest = jnp.max(jnp.where(weights > 0, along, 0))
    # Exactly 1 for the farthest row: XLA may divide by multiplying with a rounded reciprocal.
    shares = jnp.where(along < largest, along / jnp.where(largest > 0, largest, 1), 1)
    return values[-1] * scale, jnp.square(shares)
