"""Sums and ranks over many rows, hundreds of workers.

A sorting network of more than 128 rows takes too long to compile, and to sort every column some 25
times as long a value (docs/speed-rules.md has this one's). So ranks are found without sorting: the
bits of a value are decided from the highest to the lowest, each by counting how many rows lie
below, in 32 passes over a piece of the stack that stays in the cache.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import first_carry, kept
from simbyz._arrays.scales import hidden_part, made_whole

# Rows that one compiled expression adds up.
BLOCK = 24
# Rows that one counts, at most twice as many: above some 240 its loop has no vectors, see
# `MAX_OUTPUTS`.
COUNTED = 112
# Bits decided together: XLA:CPU compares twice as many of 16 bits at once as of 32.
DIGIT = 16


def sum_of(function: Callable[..., jax.Array], *stacks: jax.Array) -> jax.Array:
    """Σ function(x_i) of the rows of an (n, d) stack, or of two Σ function(x_i, y_i), one by one in
    blocks: XLA:CPU takes 10 times as long to sum over a leading axis, and long to compile an
    expression of hundreds of rows.
    """
    n, take = len(stacks[0]), functools.partial(jax.lax.dynamic_index_in_dim, keepdims=False)
    blocks, rest = divmod(n, BLOCK)

    def added(
        total: jax.Array,
        places: Iterable[int | jax.Array],
        row_of: Callable[[jax.Array, Any], jax.Array],
    ) -> jax.Array:
        for place in places:
            total = total + function(*(row_of(stack, place) for stack in stacks))
        return total

    def turn(number: jax.Array, total: jax.Array) -> jax.Array:
        # One by one: a block of them would be copied before it is read.
        first = rest + number * BLOCK
        return added(total, [first + place for place in range(BLOCK)], take)

    kind = jax.eval_shape(function, *(stack[0] for stack in stacks))
    total = first_carry(jnp.zeros(kind.shape, kind.dtype), stacks[0])
    total = added(total, range(rest), lambda stack, place: stack[place])
    # The loop comes last: an expression would be computed anew by each of those that read the sum.
    return jax.lax.fori_loop(0, blocks, turn, total) if blocks else total


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def values_of_ranks(stack: jax.Array, ranks: tuple[int, ...]) -> list[jax.Array]:
    """The values x_(rank) (d,) of each coordinate of an (n, d) stack without NaN, for each rank,
    the smallest value having rank 0.
    """

    def found(stack: jax.Array) -> list[jax.Array]:
        keys = ordered_keys(stack)
        return [values_of_keys(_key_of_rank(keys, rank), stack.dtype) for rank in ranks]

    if jax.default_backend() == "cpu":
        # Lane after lane, each in the cache.
        found = jax.custom_batching.sequential_vmap(found)
    return found(stack)


@values_of_ranks.defjvp
def _ranks_with_tangents(
    ranks: tuple[int, ...], primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[list[jax.Array], list[jax.Array]]:
    ordered, moving = jax.jvp(lambda stack: jnp.sort(stack, axis=0), primals, tangents)
    return [ordered[rank] for rank in ranks], [moving[rank] for rank in ranks]


def mean_of_ranks(stack: jax.Array, first: int, last: int) -> jax.Array:
    """The mean of x_(first) ... x_(last) in each coordinate of an (n, d) stack without NaN, in at
    least float32, with what `sum_of_parts` says. Of equal values at an end, each counts with the
    same share.
    """
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    part = hidden_part(len(stack), dtype)
    low, high = values_of_ranks(jax.lax.stop_gradient(stack), (first, last))

    def number(chosen: Callable[[jax.Array], jax.Array]) -> jax.Array:
        return sum_of(lambda row: chosen(row).astype(jnp.int32), stack)

    def total(chosen: Callable[[jax.Array], jax.Array]) -> jax.Array:
        return sum_of(lambda row: jnp.where(chosen(row), row, 0).astype(dtype) * part, stack)

    at_low, at_high = number(lambda row: row == low), number(lambda row: row == high)
    kept_low = jnp.minimum(number(lambda row: row <= low), last + 1) - first
    kept_high = jnp.where(high > low, last + 1 - number(lambda row: row < high), 0)
    inside = total(lambda row: (low < row) & (row < high))
    # Not a product of low with a number: this way each of the equal values has its derivative.
    ends = total(lambda row: row == low) * _share_of(kept_low, at_low, dtype)
    ends = ends + jnp.where(
        high > low, total(lambda row: row == high) * _share_of(kept_high, at_high, dtype), 0
    )
    return made_whole(inside + ends, (last + 1 - first) * part)


def mean_of_nearest(stack: jax.Array, center: jax.Array, count: int) -> jax.Array:
    """The mean of the `count` values nearest to a centre (d,) in each coordinate of an (n, d) stack
    without NaN, in at least float32, with what `sum_of_parts` says. Of equally far ones those
    below the centre come first, and each on one side counts with the same share. NaN where one of
    them is infinitely far.
    """
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    part = hidden_part(len(stack), dtype)
    center = kept(jax.lax.stop_gradient(center).astype(dtype) * part)

    def distance(row: jax.Array) -> jax.Array:
        return jnp.abs(jax.lax.stop_gradient(row).astype(dtype) * part - center)

    # A barrier, or XLA would find the distances again in each of the passes over them.
    distances = jax.lax.optimization_barrier(jax.vmap(distance)(stack))
    (farthest,) = values_of_ranks(distances, (count - 1,))

    def number(chosen: Callable[[jax.Array], jax.Array]) -> jax.Array:
        return sum_of(lambda row: chosen(row).astype(jnp.int32), stack)

    def total(chosen: Callable[[jax.Array], jax.Array]) -> jax.Array:
        return sum_of(lambda row: jnp.where(chosen(row), row, 0).astype(dtype) * part, stack)

    def nearer(row: jax.Array) -> jax.Array:
        return distance(row) < farthest

    def below(row: jax.Array) -> jax.Array:
        return (distance(row) == farthest) & (row.astype(dtype) * part <= center)

    def above(row: jax.Array) -> jax.Array:
        return (distance(row) == farthest) & (row.astype(dtype) * part > center)

    missing, at_low, at_high = count - number(nearer), number(below), number(above)
    some_low = jnp.minimum(missing, at_low)
    whole = total(nearer)
    for chosen, some, there in (
        (below, some_low, at_low),
        (above, missing - some_low, at_high),
    ):
        whole = whole + total(chosen) * _share_of(some, jnp.maximum(there, 1), dtype)
    return jnp.where(jnp.isfinite(farthest), made_whole(whole, count * part), jnp.nan)


def _share_of(some: jax.Array, there: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """some / there, of whole numbers: JAX divides those of 32 bits in float32, whatever dtype."""
    return some.astype(dtype) / there.astype(dtype)


def ordered_keys(stack: jax.Array) -> jax.Array:
    """Whole numbers with the order of the floats."""
    whole = jnp.dtype(f"int{8 * stack.dtype.itemsize}")
    bits = jax.lax.bitcast_convert_type(stack, whole)
    # The bits of negative floats, but for the sign, are in descending order.
    return jnp.where(bits < 0, bits ^ jnp.iinfo(whole).max, bits)


def values_of_keys(keys: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The floats of these whole numbers."""
    bits = jnp.where(keys < 0, keys ^ jnp.iinfo(keys.dtype).max, keys)
    return jax.lax.bitcast_convert_type(bits, dtype)


def _key_of_rank(keys: jax.Array, rank: int) -> jax.Array:
    """The key (d,) of a rank among those of n rows (n, d), digit by digit.

    Once the higher digits are known, rows that differ in them are told apart by them: their lower
    ones are replaced by the smallest and the largest there is.
    """
    digit, bits = jnp.dtype(f"int{DIGIT}"), 8 * keys.dtype.itemsize
    least, most = jnp.iinfo(digit).min, jnp.iinfo(digit).max
    found = jnp.zeros(keys.shape[1], keys.dtype)
    for shift in range(bits - DIGIT, -1, -DIGIT):
        # As a signed number, of which a key's highest digit already is one.
        flip = 0 if shift == bits - DIGIT else least
        digits = (keys >> shift).astype(digit) ^ digit.type(flip)
        if shift < bits - DIGIT:
            higher, known = keys >> (shift + DIGIT), found[None]
            digits = jnp.where(higher < known, least, jnp.where(higher > known, most, digits))
        one = _digit_of_rank(digits, rank) ^ digit.type(flip)
        found = (found << DIGIT) | (one.astype(keys.dtype) & (2**DIGIT - 1 if flip else -1))
    return found


def _digit_of_rank(digits: jax.Array, rank: int) -> jax.Array:
    """The largest digit (d,) with at most `rank` rows below it."""
    (n, d), digit = digits.shape, digits.dtype
    counts = jnp.dtype(jnp.int16 if n < 2**15 else jnp.int32)
    blocks, rest = divmod(n, COUNTED)
    # A row's place in its block is known when the program is compiled: no address is computed.
    few, many = digits[:rest], digits[rest:].reshape(blocks, COUNTED, d)

    def turn(turn: jax.Array, found: jax.Array) -> jax.Array:
        candidate = found + (digit.type(1) << (DIGIT - 1 - turn).astype(digit))

        def counted(number: jax.Array, below: jax.Array) -> jax.Array:
            for place in range(COUNTED):
                row = jax.lax.dynamic_slice(many, (number, place, 0), (1, 1, d))[0, 0]
                below = below + (row < candidate).astype(counts)
            return below

        below = first_carry(jnp.zeros(d, counts), digits)
        for row in few:
            below = below + (row < candidate).astype(counts)
        below = jax.lax.fori_loop(0, blocks, counted, below) if blocks else below
        return jnp.where(below <= rank, candidate, found)

    start = first_carry(jnp.full(d, jnp.iinfo(digit).min, digit), digits)
    return jax.lax.fori_loop(0, DIGIT, turn, start)
