"""Mean and variance over the worker axis.

Written as sums of whole rows: XLA:CPU turns them into one vectorised pass over the stack, where its
own reduction over a leading axis takes 4 times (mean) to 25 times (variance) as long at n = 51, d =
79,510.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import chunk_width, first_carry, in_mesh
from simbyz._arrays.geometry import full_product
from simbyz._arrays.ranks.many_rows import sum_of
from simbyz._arrays.ranks.order_statistics import MAX_NETWORK_ROWS, MAX_ORDERED_ROWS
from simbyz._arrays.redo import are_finite, redo_if
from simbyz._arrays.scales import (
    LEAST,
    hidden_part,
    made_whole,
    part_of,
    unit_of,
    unit_of_largest,
    wide,
)


def sum_rows(rows: Sequence[jax.Array]) -> jax.Array:
    """The sum of a list of arrays, in at least float32."""
    total = wide(rows[0])
    for row in rows[1:]:
        total = total + row
    return total


def mean(stack: jax.Array) -> jax.Array:
    """The mean row (d,) of an (n, d) stack."""
    n = len(stack)
    if n > MAX_NETWORK_ROWS:
        return (sum_of(wide, stack) / n).astype(stack.dtype)
    return (sum_rows(list(stack)) / n).astype(stack.dtype)


def bearable(stack: jax.Array) -> jax.Array:
    """The rows (n, d), or such a part of them where a finite value is so large as to need that."""
    part = part_of(len(stack))
    sizes = jnp.abs(stack)
    large = jnp.isfinite(sizes) & (sizes > jnp.finfo(stack.dtype).max * part)
    return stack * jnp.where(jnp.any(large), part, 1).astype(stack.dtype)


def sum_of_parts(
    rows: Sequence[jax.Array], *, among: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """The sum of such parts of a list of arrays that it is a float, and that part, a power of two.

    That takes no longer than their sum up to 64 rows, and gives the same bits, but values below
    5e-38 times the number of rows count as 0.

    Args:
      among: of so many rows these are some. XLA adds them up once, if other sums among as many
        begin with the same ones.
    """
    part = hidden_part(among or len(rows), jnp.promote_types(rows[0].dtype, jnp.float32))
    return sum_rows([wide(row) * part for row in rows]), part


def sure_mean_rows(rows: Sequence[jax.Array], *, among: int | None = None) -> jax.Array:
    """The mean of a list of arrays, a float even where the sum is none: see `sum_of_parts`."""
    total, part = sum_of_parts(rows, among=among)
    return made_whole(total, len(rows) * part).astype(rows[0].dtype)


def sure_mean(stack: jax.Array) -> jax.Array:
    """`mean`, a float even where the sum of the rows is none: see `sum_of_parts`."""
    n = len(stack)
    if n <= MAX_ORDERED_ROWS:
        return sure_mean_rows(list(stack))
    part = hidden_part(n, jnp.promote_types(stack.dtype, jnp.float32))
    total = sum_of(lambda row: wide(row) * part, stack)
    return made_whole(total, n * part).astype(stack.dtype)


@jax.custom_jvp
def weighted_mean(stack: jax.Array, weights: jax.Array, total: jax.Array | float) -> jax.Array:
    """Σ weights_i x_i / total in at least float32, rows of weight 0 left out whatever they hold; a
    float even where the sum is none, as of several rows of 1e38.
    """
    weights = wide(weights)
    # To another dtype, the stack would be copied.
    if stack.dtype != weights.dtype or in_mesh():
        return _mean_of_used(stack, weights, total)
    # It reads a stack faster than a sum of rows, but counts those of weight 0, by 0 · inf = NaN.
    mean = full_product(weights, stack) / total
    bad = ~are_finite(mean)
    return redo_if(bad, mean, _mean_of_used, stack, weights, total)


@weighted_mean.defjvp
def _weighted_mean_moves(
    primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[jax.Array, jax.Array]:
    return jax.jvp(_mean_of_used, primals, tangents)


def _mean_of_used(stack: jax.Array, weights: jax.Array, total: jax.Array | float) -> jax.Array:
    mean = _sum_of_used(stack, weights) / total
    # In parts of the weights with a sum below 1, which small rows would not bear.
    part = unit_of(jax.lax.stop_gradient(jnp.sum(weights)))
    in_parts = made_whole(_sum_of_used(stack, weights * part), total * part)
    return jnp.where(jnp.isfinite(mean), mean, in_parts)


def _sum_of_used(stack: jax.Array, weights: jax.Array) -> jax.Array:
    used = weights > 0
    if len(stack) > MAX_NETWORK_ROWS:
        rows = jnp.where(used[:, None], stack, 0).astype(weights.dtype)
        return full_product(weights, rows)
    return sum_rows([weights[i] * jnp.where(used[i], row, 0) for i, row in enumerate(stack)])


def mean_of_chosen(stack: jax.Array, chosen: jax.Array) -> jax.Array:
    """The mean (d,) of the rows of the given indices (m,), all different.

    All rows are summed, with the others blanked: to gather rows takes several times as long on a
    CPU, under vmap above all.
    """
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    used = jnp.any(chosen[:, None] == jnp.arange(len(stack))[None], axis=0).astype(dtype)
    return weighted_mean(stack, used, len(chosen)).astype(stack.dtype)


@jax.custom_jvp
def means_of_chosen(stack: jax.Array, chosen: jax.Array, finite: jax.Array) -> jax.Array:
    """Several means (k, d) of rows, each of those that are chosen, (k, n) booleans; NaN if one of
    these is not finite, which `are_finite` tells.
    """
    weights = _shares(stack, chosen)
    if stack.dtype != weights.dtype or in_mesh():
        return _means_of_finite(stack, chosen, finite)
    means = full_product(weights, stack)
    bad = ~jnp.all(finite)
    return redo_if(bad, means, _means_of_finite, stack, chosen, finite)


@means_of_chosen.defjvp
def _means_move(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    (stack, chosen, finite), (moves, _, _) = primals, tangents
    return jax.jvp(lambda stack: _means_of_finite(stack, chosen, finite), (stack,), (moves,))


def _shares(stack: jax.Array, chosen: jax.Array) -> jax.Array:
    weights = chosen.astype(jnp.promote_types(stack.dtype, jnp.float32))
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def _means_of_finite(stack: jax.Array, chosen: jax.Array, finite: jax.Array) -> jax.Array:
    """`means_of_chosen` where rows are not finite.

    A matrix product counts a row of weight 0, too, by 0 · inf = NaN: hence the blanking. It is done
    chunk by chunk of coordinates, as a blanked copy of the whole stack would cost more time, in
    fresh memory, than the product does.
    """
    d = stack.shape[1]
    spoiled = jnp.any(chosen & ~finite[None, :], axis=1)
    weights = _shares(stack, chosen)
    size = chunk_width(stack)

    def turn(turn: jax.Array, means: jax.Array) -> jax.Array:
        # The last chunk is moved back to stay inside: it repeats a part of the one before.
        start = jnp.clip(turn * size, 0, d - size)
        rows = jax.lax.dynamic_slice_in_dim(stack, start, size, axis=1)
        rows = jnp.where(jnp.isfinite(rows), rows, 0).astype(weights.dtype)
        mixed = full_product(weights, rows)
        mixed = jnp.where(spoiled[:, None], jnp.nan, mixed).astype(stack.dtype)
        return jax.lax.dynamic_update_slice_in_dim(means, mixed, start, axis=1)

    empty = first_carry(jnp.zeros((len(chosen), d), stack.dtype), stack)
    return jax.lax.fori_loop(0, -(-d // size), turn, empty)


def variance(stack: jax.Array) -> jax.Array:
    """Coordinate-wise sample variance (divisor n - 1) of an (n, d) stack; NaN for a single row."""
    n = len(stack)
    if n == 1:
        return jnp.full_like(stack[0], jnp.nan)
    center = mean(stack)
    if n > MAX_NETWORK_ROWS:
        squares = sum_of(lambda row: wide(jnp.square(row - center)), stack)
        return (squares / (n - 1)).astype(stack.dtype)
    return (sum_rows([jnp.square(row - center) for row in stack]) / (n - 1)).astype(stack.dtype)


@jax.custom_jvp
def mean_and_deviation(stack: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Coordinate-wise mean and sample deviation (d,) of an (n, d) stack of two rows or more, in at
    least float32, whatever the size of the rows.
    """
    # In float16 a square overflows at 256, in bfloat16 it keeps two digits.
    rows = wide(stack)
    center, deviation = mean(rows), jnp.sqrt(variance(rows))
    usual = are_finite(center + deviation) & (jnp.max(deviation) > LEAST**0.5)
    return redo_if(~usual, (center, deviation), _in_units, rows)


def _in_units(stack: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows = wide(stack)
    unit = unit_of_largest(rows)
    rows = rows * unit
    center = mean(rows)
    apart = rows - center[None]
    finer = unit_of_largest(apart)
    deviation = jnp.sqrt(jnp.sum(jnp.square(apart * finer), axis=0) / (len(rows) - 1))
    # Behind a barrier, or XLA divides by finer · unit, which is flushed to 0 below 1e-38.
    return center / unit, jax.lax.optimization_barrier(deviation / finer) / unit


@mean_and_deviation.defjvp
def _in_units_move(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, ...]:
    return mean_and_deviation(*primals), jax.jvp(_in_units, primals, tangents)[1]
