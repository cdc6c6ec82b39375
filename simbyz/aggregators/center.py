"""Rules that move a centre step by step: every row pulls, and no row pulls harder than allowed.

Non-finite values: a row that is not finite, or (in float32) some 1e19 times as far from the centre
as the middle one, pulls with weight 0 and is left out of the sum, so at most f such rows leave
every rule here finite. Distances have zero gradient at zero.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import needs_at_least, require
from simbyz._arrays.chunks import first_carry
from simbyz._arrays.geometry import Reached, middle_row, squared_distances_to, squared_norms
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.lengths import Length, given_length, lengths_to, middle_length, whole_share
from simbyz._arrays.moments import mean, weighted_mean
from simbyz._arrays.scales import own_lengths, unit_of, wide
from simbyz._arrays.stacking import PyTree, Updates, ravel, row_like

__all__ = [
    "centered_clipping",
    "centered_clipping_selection",
    "fed_nga",
    "fed_nga_selection",
    "geometric_median",
    "geometric_median_selection",
    "huber_center",
    "huber_center_selection",
    "norm_bounded_mean",
    "norm_bounded_mean_selection",
]


def _geometric_median(
    updates: Updates,
    f: int = 0,
    *,
    smoothing: float | jax.Array = 0.1,
    iterations: int = 3,
    start: Literal["mean", "zeros", "median"] = "zeros",
) -> Halves:
    """The point of least summed distance to the rows, by smoothed Weiszfeld iterations.

    z ← Σ w_i x_i / Σ w_i with w_i = 1 / max(smoothing, ||x_i - z||), a fixed number of times.

    Args:
      smoothing: the distance below which a row pulls no harder; positive, may be traced. It has the
        scale of the rows: where all distances are below it, the result is their mean.
      iterations: at least 1.
      start: z before the first iteration: the mean of the finite rows, zeros, or the coordinate-
        wise median. From the mean, one row of size s costs about log(s) iterations to come back; a
        few iterations are enough from the median, and from zeros if the rows are not far from it.

    Returns:
      The aggregate; NaN if no row is finite.

    Raises:
      ValueError: n < 2f + 1, iterations < 1, an unknown start, or a smoothing that is negative or
        NaN (if not traced).

    Weights: those of the last step, their sum 1.
    Cost: two passes over the stack an iteration.
    Reference: Chen et al., Distributed statistical machine learning in adversarial settings, 2017;
      Pillutla et al., Robust aggregation for federated learning, 2022.
    Convention: the defaults are ByzFL's and epfml's. ByzPy: smoothing 1e-12, 256 iterations from
      the median, until the moves are below 1e-6. Blades: 1e-6, 100 from the mean. Here nothing
      stops early.
    """
    stack, unravel = ravel(updates)
    require("geometric_median", len(stack), f, 2, 1)
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    if start == "zeros":
        first = None
    elif start == "mean":
        finite = lengths_to(None, stack).finite
        first = weighted_mean(stack, finite.astype(dtype), jnp.sum(finite))
    elif start == "median":
        first = middle_row(stack).astype(dtype)
    else:
        raise unknown_start("geometric_median", start)
    center, weights = weiszfeld("geometric_median", stack, first, smoothing, iterations)
    return pulled_center(center, weights, stack, unravel)


geometric_median, geometric_median_selection = halves(_geometric_median)


def _centered_clipping(
    updates: Updates,
    f: int = 0,
    *,
    radius: float | jax.Array,
    iterations: int = 1,
    center: PyTree | None = None,
) -> Halves:
    """A centre moved by the mean of the rows' differences to it, each clipped to a radius.

    v ← v + (1/n) Σ (x_i - v) min(1, radius / ||x_i - v||), a fixed number of times.

    Args:
      radius: 0 or more, may be traced.
      iterations: at least 1.
      center: v before the first step, (d,) or a pytree like the result; zeros if None. The rule is
        meant to start from its last result: keep it, and hand it back with the next updates.

    Returns:
      The aggregate: the new centre.

    Raises:
      ValueError: n < 2f + 1, iterations < 1, a radius that is negative or NaN (if not traced), or a
        center of another shape.

    Weights: each row's share in the move, their sum 1; equal ones if nothing moves the centre. The
      result is (1 - a) center + a Σ share_i x_i for some a.
    Cost: two passes over the stack a step.
    Reference: Karimireddy et al., Learning from history for Byzantine robust optimization, ICML
      2021. Its guarantee wants f / n below about 0.1.
    Convention: a row that is not finite moves the centre by 0 and still counts in n. ByzFL: radius
      100, 1 step; Blades: radius 5, 5 steps; both keep the centre from call to call. ByzPy: 10
      steps from the mean, which is `center=average(updates)`.
    """
    stack, unravel = ravel(updates)
    require("centered_clipping", len(stack), f, 2, 1)
    start = None if center is None else row_like(center, updates, stack)
    return clipped_around("centered_clipping", stack, radius, iterations, start, unravel)


centered_clipping, centered_clipping_selection = halves(_centered_clipping)


def _huber_center(
    updates: Updates,
    f: int,
    *,
    radius: float | jax.Array | None = None,
    iterations: int = 3,
) -> Halves:
    """The point of least summed Huber loss of the distances to the rows, iteratively reweighted.

    z ← Σ w_i x_i / Σ w_i with w_i = min(1, radius / ||x_i - z||), a fixed number of times from the
    coordinate-wise median: the rows within the radius as in a mean, the others as in the geometric
    median. It is `geometric_median(smoothing=radius, start="median")`.

    Args:
      radius: 0 or more, may be traced; if None, the lower median of the rows' distances to the
        first z, so that the rule has no scale of its own.
      iterations: at least 1.

    Returns:
      The aggregate; NaN if no row is finite.

    Raises:
      ValueError: n < 2f + 1, iterations < 1, or a radius that is negative or NaN (if not traced).

    Weights: those of the last step, their sum 1.
    Cost: one sorting network, and two passes over the stack an iteration.
    Reference: Huber, Robust estimation of a location parameter, 1964; Zhao et al., A Huber loss
      minimization approach to Byzantine robust federated learning, AAAI 2024, whose text was not
      at hand.
    Convention: the radius by a median, the start and the number of iterations are choices made
      here.
    """
    stack, unravel = ravel(updates)
    require("huber_center", len(stack), f, 2, 1)
    start = wide(middle_row(stack))
    own = middle_length(lengths_to(start, stack)) if radius is None else radius
    reach = given_length("radius", "huber_center", own, start.dtype)
    center, weights = weiszfeld("huber_center", stack, start, reach, iterations)
    return pulled_center(center, weights, stack, unravel)


huber_center, huber_center_selection = halves(_huber_center)


def _norm_bounded_mean(
    updates: Updates, f: int, *, radius: float | jax.Array | None = None
) -> Halves:
    """The mean of the rows, each shortened to at most a given norm.

    (1/n) Σ x_i min(1, radius / ||x_i||). It is one step of `centered_clipping` from zero.

    Args:
      radius: 0 or more, may be traced; the lower median of the rows' norms if None.

    Returns:
      The aggregate: no row moves it by more than radius / n.

    Raises:
      ValueError: n < 2f + 1, or a radius that is negative or NaN (if not traced).

    Weights: each row's share in the sum, their sum 1; equal ones if all rows are zero.
    Cost: two passes over the stack.
    Reference: Sun et al., Can you really backdoor federated learning?, 2019.
    Convention: the paper's radius is given, and it adds noise, which is not done here; others take
      the median norm (FLAME, LASA), the default. A row that is not finite counts as zero, in n too.
    """
    stack, unravel = ravel(updates)
    require("norm_bounded_mean", len(stack), f, 2, 1)
    reach = middle_length(lengths_to(None, stack)) if radius is None else radius
    return clipped_around("norm_bounded_mean", stack, reach, 1, None, unravel)


norm_bounded_mean, norm_bounded_mean_selection = halves(_norm_bounded_mean)


def _fed_nga(updates: Updates, f: int) -> Halves:
    """The mean of the rows, each divided by its norm.

    (1/n) Σ x_i / ||x_i||, a row of zeros staying zero.

    Returns:
      The aggregate, of norm 1 at most: no row moves it by more than 1/n. It keeps nothing of the
      rows' lengths, so that the learning rate alone is the length of a step.

    Raises:
      ValueError: n < 2f + 1.

    Weights: 1/m for each of the m rows that have a direction, else 0.
    Cost: two passes over the stack.
    Reference: Zuo et al., Efficient federated learning against Byzantine attacks and data
      heterogeneity via aggregating normalized gradients, NeurIPS 2025, whose text was at hand in
      parts.
    Convention: rows count alike; the paper weighs them by how much data they stand for. A row that
      is not finite counts as zero, in n too.
    """
    stack, unravel = ravel(updates)
    require("fed_nga", len(stack), f, 2, 1)
    lengths = own_lengths(stack)
    directed = jnp.isfinite(lengths.values) & (lengths.values > 0)

    def aggregate() -> jax.Array:
        norms = jnp.where(directed, lengths.values, 1)
        rows = wide(stack) * lengths.units[:, None] / norms[:, None]
        return mean(jnp.where(directed[:, None], rows, 0)).astype(stack.dtype)

    return Halves(
        lambda: unravel(aggregate()), lambda: directed / jnp.maximum(jnp.sum(directed), 1)
    )


fed_nga, fed_nga_selection = halves(_fed_nga)


def unknown_start(rule: str, start: str) -> ValueError:
    return ValueError(f'{rule} knows the starts "mean", "zeros" and "median", got {start!r}')


def weiszfeld(
    rule: str,
    stack: jax.Array,
    center: jax.Array | None,
    smoothing: float | jax.Array | Length,
    iterations: int,
    masses: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The centre (d,) that the rows (n, d), of masses (n,) or of equal ones, pull a first one, or
    zero, to, and the weights (n,) whose weighted mean it is.

    Raises:
      ValueError: iterations < 1.
    """
    iterations = needs_at_least(rule, "iterations", iterations, 1)
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    reach = given_length("smoothing", rule, smoothing, dtype)
    if center is None:
        known = Reached(jnp.zeros_like(stack[0], dtype), squared_norms(stack))
    else:
        known = Reached(center, squared_distances_to(center, stack))

    def step(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        center = carry[0]
        lengths = lengths_to(center, stack, known)
        pulls = 1 if masses is None else masses
        # Weights in units of their own, too: only their ratios matter.
        least = jnp.minimum(reach.times(lengths.unit), 2.0**100)
        weights = jnp.where(lengths.finite, pulls / jnp.maximum(least, lengths.values), 0)
        # Beside small rows a small weight would be flushed to 0.
        weights = weights * unit_of(jnp.max(weights))
        return weighted_mean(stack, weights, jnp.sum(weights)), weights

    start_from = first_carry((known.center, jnp.zeros(len(stack), dtype)), stack)
    return jax.lax.fori_loop(0, iterations, step, start_from)


def pulled_center(
    center: jax.Array,
    weights: jax.Array,
    stack: jax.Array,
    unravel: Callable[[jax.Array], PyTree],
) -> Halves:
    """The halves of a rule whose centre (d,) is the mean of the rows by weights (n,) of any sum."""
    return Halves(
        lambda: unravel(center.astype(stack.dtype)),
        lambda: jax.lax.stop_gradient(weights / jnp.sum(weights)),
    )


def clipped_around(
    rule: str,
    stack: jax.Array,
    radius: float | jax.Array | Length,
    iterations: int,
    center: jax.Array | None,
    unravel: Callable[[jax.Array], PyTree] = lambda row: row,
) -> Halves:
    """`centered_clipping` of a stack (n, d) around a row (d,), zero if None."""
    iterations = needs_at_least(rule, "iterations", iterations, 1)
    n, dtype = len(stack), jnp.promote_types(stack.dtype, jnp.float32)
    reach = given_length("radius", rule, radius, dtype)
    start = jnp.zeros_like(stack[0]) if center is None else center

    known = Reached(jnp.zeros_like(stack[0], dtype), squared_norms(stack))
    whole = whole_share(known.squares.unit)

    def step(
        at: jax.Array | None, carry: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """From a centre, None where it is zero; with each row's coefficient in it so far, (n,)."""
        center, weights = carry
        lengths = lengths_to(at, stack, known)
        bound = reach.times(lengths.unit * whole)
        kept = jnp.where(lengths.finite, jnp.minimum(whole, bound / lengths.values), 0) / n
        total = jnp.sum(kept) / whole
        moved = moved_by(center, weighted_mean(stack, kept, whole), total)
        return moved, weights * (1 - total) + kept

    carry = first_carry((start.astype(dtype), jnp.zeros(n, dtype)), stack)
    if center is None:
        carry = step(None, carry)
    moved, kept = jax.lax.fori_loop(
        int(center is None), iterations, lambda _, carry: step(carry[0], carry), carry
    )
    return moved_center(moved, kept, stack, unravel)


def moved_center(
    moved: jax.Array,
    kept: jax.Array,
    stack: jax.Array,
    unravel: Callable[[jax.Array], PyTree],
) -> Halves:
    """The halves of a rule that moves a centre to (d,): the rows' weights are in proportion to
    numbers (n,), equal ones if all of these are 0.
    """

    def weights() -> jax.Array:
        total = jnp.sum(kept)
        shares = jnp.where(total > 0, kept / jnp.where(total > 0, total, 1), 1 / len(stack))
        return jax.lax.stop_gradient(shares)

    return Halves(lambda: unravel(moved.astype(stack.dtype)), weights)


def moved_by(center: jax.Array, pulled: jax.Array, total: jax.Array) -> jax.Array:
    """A centre (d,) moved to rows whose shares add up to a total (); pulled (d,): their sum."""
    moved = center + (pulled - total * center)
    # Of large values on both sides of zero the difference is no float; this loses more digits.
    return jnp.where(jnp.isfinite(moved), moved, pulled + (1 - total) * center)
