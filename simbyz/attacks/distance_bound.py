"""Attacks that go as far as the honest vectors lie apart, without knowing the rule: min-max and
min-sum, and min-sum beside large shifts in a few coordinates.

All send mean + γ · direction with the largest γ that keeps the Byzantine vector no farther off
than the honest ones are from each other. The paper searches γ by halving a step. Each bound is a
quadratic inequality in γ, so that the largest γ has a closed form.

    direction   "unit", -mean / ||mean||; "sign", -sign(mean); "deviation", minus the sample
                deviation
    known       the attackers see the first `known` honest rows alone, and stay among them; all if
                None

The rows sent are equal; they are the mean where the direction is zero.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.chunks import kept
from simbyz._arrays.geometry import full_product, gram
from simbyz._arrays.scales import unit, unit_of, unit_where_unusual, wide
from simbyz._arrays.stacking import Byzantine, Honest, PyTree, ravel
from simbyz.attacks.rows import factors, marked, repeat, seen

Direction = Literal["unit", "sign", "deviation"]


def min_max(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    direction: Direction = "deviation",
    known: int | None = None,
) -> Byzantine:
    """mean + γ · direction, γ as large as max_i ||b - x_i|| ≤ max_{i,j} ||x_i - x_j|| allows.

    γ is the least, over i, of the larger roots of ||mean + γ · direction - x_i||² = D², with D the
    largest of the distances.

    Raises:
      ValueError: an unknown direction, or fewer than two rows seen.

    Cost: one h × h × d matrix product.
    Reference: Shejwalkar and Houmansadr, Manipulating the Byzantine, NDSS 2021.
    """
    del key
    stack, unravel = ravel(honest)
    rows, mean, toward, unit_of_rows = _start("min_max", seen(stack, known), direction)
    offsets = mean[None] - rows
    inner = gram(offsets)
    squares = jnp.diagonal(inner)
    largest = jnp.max(squares[:, None] + squares[None, :] - 2 * inner)
    square = jnp.sum(jnp.square(toward))
    slopes = full_product(offsets, toward)
    # By powers of two, which rounds nothing: the product of two squares overflows at rows of 1e10,
    # and vanishes at rows of 1e-10.
    size, length = 1 / unit_of(jnp.sqrt(largest)), 1 / unit_of(jnp.sqrt(square))
    slopes, square = slopes / size / length, square / length / length
    # The mean is never farther from a row than two rows can be: γ = 0 is allowed.
    room = jnp.maximum(largest - squares, 0) / size / size
    # The larger root, written so that nothing cancels where the slope is positive.
    root = jnp.sqrt(jnp.square(slopes) + square * room)
    gammas = jnp.where(
        slopes > 0,
        room / jnp.where(slopes > 0, slopes + root, 1),
        (root - slopes) / jnp.where(square > 0, square, 1),
    )
    row = mean + jnp.where(square > 0, jnp.min(gammas) * (size / length), 0) * toward
    return unravel(repeat((row * unit_of_rows).astype(stack.dtype), num_byzantine))


def min_sum(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    direction: Direction = "deviation",
    bound: Literal["largest", "smallest"] = "largest",
    known: int | None = None,
) -> Byzantine:
    """mean + γ · direction, γ as large as Σ_i ||b - x_i||² ≤ max_i Σ_j ||x_i - x_j||² allows.

    A sum of squared distances to the h rows is h times that to their mean, plus a constant. The
    bound therefore reads ||b - mean|| ≤ max_i ||x_i - mean||.

    Args:
      bound: "smallest": min_i instead of max_i on the right.

    Raises:
      ValueError: an unknown direction or bound, or fewer than two rows seen.

    Cost: two passes over the rows.
    Reference: Shejwalkar and Houmansadr, Manipulating the Byzantine, NDSS 2021.
    Convention: the largest sum bounds in the paper, the smallest in its authors' notebooks.
    """
    del key
    if bound not in ("largest", "smallest"):
        raise ValueError(f'min_sum takes the bound "largest" or "smallest", got {bound!r}')
    stack, unravel = ravel(honest)
    rows, mean, toward, unit_of_rows = _start("min_sum", seen(stack, known), direction)
    distances = jnp.linalg.norm(rows - mean[None], axis=1)
    radius = jnp.max(distances) if bound == "largest" else jnp.min(distances)
    row = mean + radius * unit(toward)
    return unravel(repeat((row * unit_of_rows).astype(stack.dtype), num_byzantine))


def sparse_optimised(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    mask: PyTree | None = None,
    scale: float | jax.Array = -5.0,
    bound: Literal["largest", "smallest"] = "smallest",
) -> Byzantine:
    """mean + scale · deviation in a few coordinates, mean - γ · deviation in the others, γ as large
    as Σ_i ||b - x_i||² ≤ min_i Σ_j ||x_i - x_j||² allows.

    The bound reads ||b - mean||² ≤ min_i ||x_i - mean||²: γ is the root of what the large shifts
    leave of it over the others' squared deviation, and 0 where they leave nothing.

    Args:
      mask: booleans (d,), or a pytree like one honest update: where the large shift is, the same
        ones in every step; None: nowhere, which is `min_sum(bound=bound)`.
      scale: may be traced.
      bound: "largest": max_i instead of min_i.

    Raises:
      ValueError: fewer than two honest rows, a mask of another shape, or an unknown bound.

    Cost: two passes over the rows.
    Reference: arXiv:2404.06230, 2024, whose text was not at hand, by the program of CRYPTO-KU.
    Convention: the program halves a step to find γ, to 1e-5, and cuts the large shifts' deviations
      at a fence of outliers; the authors find the mask by pruning the network at its start.
    """
    del key
    if bound not in ("largest", "smallest"):
        raise ValueError(f'sparse_optimised takes the bound "largest" or "smallest", got {bound!r}')
    factors("sparse_optimised", scale=scale)
    stack, unravel = ravel(honest)
    rows, mean, toward, unit_of_rows = _start("sparse_optimised", stack, "deviation")
    few = marked(mask, honest, stack)
    large = jnp.where(few, -scale * toward, 0)
    small = jnp.where(few, 0, toward)
    squares = jnp.sum(jnp.square(rows - mean[None]), axis=1)
    limit = jnp.max(squares) if bound == "largest" else jnp.min(squares)
    left = jnp.maximum(limit - jnp.sum(jnp.square(large)), 0)
    row = mean + large + jnp.sqrt(left) * unit(small)
    return unravel(repeat((row * unit_of_rows).astype(stack.dtype), num_byzantine))


def _start(
    attack: str, stack: jax.Array, direction: Direction
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The rows seen, their mean and the direction, in at least float32, and the factor of a row
    in the end.

    That is 1, unless squares of what is seen would leave the range of float32.
    """
    if len(stack) < 2:
        raise ValueError(f"{attack} needs at least 2 honest rows to stay among, got 1")
    unit_of_rows = 1 / unit_where_unusual(stack)
    rows = wide(stack) / unit_of_rows
    mean = kept(moments.mean(rows))
    if direction == "unit":
        return rows, mean, -unit(mean), unit_of_rows
    if direction == "sign":
        return rows, mean, -jnp.sign(mean), unit_of_rows
    if direction == "deviation":
        return rows, mean, -jnp.sqrt(moments.variance(rows)), unit_of_rows
    raise ValueError(
        f'{attack} takes the direction "unit", "sign" or "deviation", got {direction!r}'
    )
