"""Rules that move a centre step by step: every row pulls, and no row pulls harder than allowed.

Non-finite values: a row whose squared distance to the centre is not finite (in float32, a distance
above 1.8e19) pulls with weight 0 and is left out of the sum, so at most f rows of NaN, ±inf or 1e38
leave every rule here finite. Distances have zero gradient at zero.
"""

import operator
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import first_carry
from simbyz._arrays.geometry import Reached, middle_row, squared_distances_to, squared_norms
from simbyz._arrays.moments import weighted_sum
from simbyz._arrays.shapes import Aggregate, Updates, Weights
from simbyz._arrays.stacking import PyTree, aggregate, ravel, require


def geometric_median(
    updates: Updates,
    f: int = 0,
    *,
    smoothing: float | jax.Array = 0.1,
    iterations: int = 3,
    start: Literal["mean", "zeros", "median"] = "zeros",
    layerwise: bool = False,
) -> Aggregate:
    """The point of least summed distance to the rows, by smoothed Weiszfeld iterations.

    z ← Σ w_i x_i / Σ w_i with w_i = 1 / max(smoothing, ||x_i - z||), a fixed number of times.

    Args:
      updates: (n, d), or a pytree of leaves (n, ...).
      f: number of Byzantine rows tolerated; only checked.
      smoothing: the distance below which a row pulls no harder; positive, may be traced. It has the
        scale of the rows: where all distances are below it, the result is their mean.
      iterations: at least 1.
      start: z before the first iteration: the mean of the finite rows, zeros, or the coordinate-
        wise median. From the mean, one row of size s costs about log(s) iterations to come back; a
        few iterations are enough from the median, and from zeros if the rows are not far from it.
      layerwise: aggregate each leaf alone.

    Returns:
      (d,), or the pytree without its worker axis; NaN if no row is finite.

    Raises:
      ValueError: n < 2f + 1, iterations < 1, or an unknown start.

    Cost: two passes over the stack an iteration.
    Reference: Chen et al., Distributed statistical machine learning in adversarial settings, 2017;
      Pillutla et al., Robust aggregation for federated learning, 2022.
    Convention: the defaults are ByzFL's and epfml's. ByzPy: smoothing 1e-12, 256 iterations from
      the median, until the moves are below 1e-6. Blades: 1e-6, 100 from the mean. Here nothing
      stops early.
    """

    def rule(stack: jax.Array) -> jax.Array:
        require("geometric_median", len(stack), f, 2, 1)
        center, _ = _weiszfeld(stack, smoothing, iterations, start)
        return center.astype(stack.dtype)

    return aggregate(rule, updates, layerwise)


def geometric_median_selection(
    updates: Updates,
    f: int = 0,
    *,
    smoothing: float | jax.Array = 0.1,
    iterations: int = 3,
    start: Literal["mean", "zeros", "median"] = "zeros",
) -> Weights:
    """The weights (n,) of the rows in the last step of `geometric_median`, their sum 1."""
    stack, _ = ravel(updates)
    require("geometric_median", len(stack), f, 2, 1)
    _, weights = _weiszfeld(stack, smoothing, iterations, start)
    return jax.lax.stop_gradient(weights / jnp.sum(weights))


def centered_clipping(
    updates: Updates,
    f: int = 0,
    *,
    radius: float | jax.Array,
    iterations: int = 1,
    center: PyTree | None = None,
    layerwise: bool = False,
) -> Aggregate:
    """A centre moved by the mean of the rows' differences to it, each clipped to a radius.

    v ← v + (1/n) Σ (x_i - v) min(1, radius / ||x_i - v||), a fixed number of times.

    Args:
      updates: (n, d), or a pytree of leaves (n, ...).
      f: number of Byzantine rows tolerated; only checked.
      radius: not negative, may be traced.
      iterations: at least 1.
      center: v before the first step, (d,) or a pytree like the result; zeros if None. The rule is
        meant to start from its last result: keep it, and hand it back with the next updates.
      layerwise: aggregate each leaf alone, every one with the whole radius.

    Returns:
      (d,), or the pytree without its worker axis: the new centre.

    Raises:
      ValueError: n < 2f + 1, iterations < 1, or a center of another shape.

    Cost: two passes over the stack a step.
    Reference: Karimireddy et al., Learning from history for Byzantine robust optimization, ICML
      2021. Its guarantee wants f / n below about 0.1.
    Convention: a row that is not finite moves the centre by 0 and still counts in n. ByzFL: radius
      100, 1 step; Blades: radius 5, 5 steps; both keep the centre from call to call. ByzPy: 10
      steps from the mean, which is `center=average(updates)`.
    """

    def rule(stack: jax.Array, center: jax.Array) -> jax.Array:
        require("centered_clipping", len(stack), f, 2, 1)
        moved, _ = _clipped_steps(stack, radius, iterations, center, from_zero)
        return moved.astype(stack.dtype)

    from_zero = center is None
    return aggregate_with(rule, updates, _center_or_zeros(center, updates), layerwise)


def centered_clipping_selection(
    updates: Updates,
    f: int = 0,
    *,
    radius: float | jax.Array,
    iterations: int = 1,
    center: PyTree | None = None,
) -> Weights:
    """The share (n,) of each row in the move of `centered_clipping`, their sum 1.

    The result is (1 - a) center + a Σ share_i x_i for some a; equal shares if nothing moves it.
    """
    stack, _ = ravel(updates)
    n = len(stack)
    require("centered_clipping", n, f, 2, 1)
    start = row_like(_center_or_zeros(center, updates), stack)
    _, weights = _clipped_steps(stack, radius, iterations, start, center is None)
    total = jnp.sum(weights)
    shares = jnp.where(total > 0, weights / jnp.where(total > 0, total, 1), 1 / n)
    return jax.lax.stop_gradient(shares)


def safe_sqrt(squares: jax.Array) -> jax.Array:
    """The square root, with derivative 0 at 0; at least 1e-19 (in float32), to be divided by."""
    return jnp.sqrt(jnp.maximum(squares, jnp.finfo(squares.dtype).tiny))


def aggregate_with(
    rule: Callable[[jax.Array, jax.Array], jax.Array],
    updates: PyTree,
    row: PyTree,
    layerwise: bool = False,
) -> PyTree:
    """`stacking.aggregate` for a rule that takes a further row, (n, d), (d,) -> (d,).

    Args:
      rule: as in `aggregate`, with one more argument.
      updates: as in `aggregate`.
      row: (d,), or a pytree like the result.
      layerwise: as in `aggregate`.

    Raises:
      ValueError: the row is not of the shape of one worker's update.
    """
    if layerwise:
        return jax.tree.map(lambda leaf, own: aggregate_with(rule, leaf, own), updates, row)
    return aggregate(lambda stack: rule(stack, row_like(row, stack)), updates)


def row_like(row: PyTree, stack: jax.Array) -> jax.Array:
    joined, _ = ravel(jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], row))
    if joined.shape[1] != stack.shape[1]:
        raise ValueError(
            f"an update has {stack.shape[1]} coordinates, the row given {joined.shape[1]}"
        )
    return joined[0]


def _center_or_zeros(center: PyTree | None, updates: PyTree) -> PyTree:
    if center is not None:
        return center
    return jax.tree.map(lambda leaf: jnp.zeros_like(leaf, shape=jnp.shape(leaf)[1:]), updates)


def _at_least_one(rule: str, iterations: int) -> int:
    iterations = operator.index(iterations)
    if iterations < 1:
        raise ValueError(f"{rule} needs iterations >= 1, got iterations={iterations}")
    return iterations


@jax.custom_jvp
def _squared_distances_to(
    center: jax.Array | None, stack: jax.Array, known: Reached | None
) -> jax.Array:
    if center is None:
        return squared_norms(stack)
    return squared_distances_to(center, stack, known)


@_squared_distances_to.defjvp
def _derivative_blanked(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """A row that is not finite has derivative 0. To blank it before, for this alone, would make a
    copy of the stack. What was known before, of the same rows, has no part in it.
    """
    (center, stack, _), (center_moves, rows_move, _) = primals, tangents
    squares = _squared_distances_to(*primals)
    apart, moves = stack.astype(squares.dtype), rows_move.astype(squares.dtype)
    if center is not None:
        apart, moves = apart - center[None], moves - center_moves[None]
    apart = jnp.where(jnp.isfinite(squares)[:, None], apart, 0)
    return squares, 2 * jnp.sum(apart * moves, axis=1)


def distances_to(
    center: jax.Array | None, stack: jax.Array, known: Reached | None = None
) -> tuple[jax.Array, jax.Array]:
    """The rows' distances (n,) to a centre, or to zero, and which rows are a finite one away."""
    squares = _squared_distances_to(center, stack, known)
    finite = jnp.isfinite(squares)
    return safe_sqrt(jnp.where(finite, squares, 1)), finite


def _weiszfeld(
    stack: jax.Array, smoothing: float | jax.Array, iterations: int, start: str
) -> tuple[jax.Array, jax.Array]:
    """The last centre (d,), and the weights (n,) whose weighted mean it is."""
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    if start == "zeros":
        center = None
    elif start == "mean":
        _, finite = distances_to(None, stack)
        center = weighted_sum(stack, finite.astype(dtype)) / jnp.sum(finite)
    elif start == "median":
        center = middle_row(stack).astype(dtype)
    else:
        raise unknown_start("geometric_median", start)
    return weiszfeld("geometric_median", stack, center, smoothing, iterations)


def unknown_start(rule: str, start: str) -> ValueError:
    return ValueError(f'{rule} knows the starts "mean", "zeros" and "median", got {start!r}')


def weiszfeld(
    rule: str,
    stack: jax.Array,
    center: jax.Array | None,
    smoothing: float | jax.Array,
    iterations: int,
    masses: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The centre (d,) that the rows (n, d), of masses (n,) or of equal ones, pull a first one, or
    zero, to, and the weights (n,) whose weighted mean it is.

    Raises:
      ValueError: iterations < 1.
    """
    iterations, dtype = _at_least_one(rule, iterations), jnp.promote_types(stack.dtype, jnp.float32)
    smoothing = jnp.asarray(smoothing, dtype)
    if center is None:
        known = Reached(jnp.zeros_like(stack[0], dtype), squared_norms(stack))
    else:
        known = Reached(center, squared_distances_to(center, stack))

    def step(_, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        center, _ = carry
        distances, finite = distances_to(center, stack, known)
        pulls = 1 if masses is None else masses
        weights = jnp.where(finite, pulls / jnp.maximum(smoothing, distances), 0)
        return weighted_sum(stack, weights) / jnp.sum(weights), weights

    start_from = first_carry((known.center, jnp.zeros(len(stack), dtype)), stack)
    return jax.lax.fori_loop(0, iterations, step, start_from)


def _clipped_steps(
    stack: jax.Array,
    radius: float | jax.Array,
    iterations: int,
    center: jax.Array,
    from_zero: bool,
) -> tuple[jax.Array, jax.Array]:
    """The last centre (d,), and the coefficient (n,) of each row in it, from a first one that is
    known to be zero or is not.
    """
    iterations = _at_least_one("centered_clipping", iterations)
    n, dtype = len(stack), jnp.promote_types(stack.dtype, jnp.float32)
    radius = jnp.asarray(radius, dtype)

    known = Reached(jnp.zeros_like(stack[0], dtype), squared_norms(stack))

    def step(
        at: jax.Array | None, carry: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        center, weights = carry
        distances, finite = distances_to(at, stack, known)
        kept = jnp.where(finite, jnp.minimum(1, radius / distances), 0) / n
        total = jnp.sum(kept)
        return center + (weighted_sum(stack, kept) - total * center), weights * (1 - total) + kept

    carry = first_carry((center.astype(dtype), jnp.zeros(n, dtype)), stack)
    if from_zero:
        carry = step(None, carry)
    return jax.lax.fori_loop(
        int(from_zero), iterations, lambda _, carry: step(carry[0], carry), carry
    )
