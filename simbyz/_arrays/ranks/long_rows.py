"""Ranks in long rows: the k largest values of a row.

XLA:CPU finds them by a heap: 0.8 ms for 1 % of 79,510 values, ten times as long for 10 %, on a core
of a busy Xeon. A search for the size above which k lie reads the row 5 to 15 times while it stays
in the cache: 0.2 ms on a core of a busy EPYC, whatever k.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import first_carry

SAMPLED = 128  # one value in so many tells where to begin
SPREAD = 3  # standard deviations of a sampled rank that the search begins with


def only_largest(values: jax.Array, k: int) -> jax.Array:
    """Each row (w, d) with zeros but at its k <= d values of the largest size; of equal sizes the
    first, and NaN before all.
    """

    def of_row(row: jax.Array) -> jax.Array:
        return jnp.where(_largest_of_row(jnp.abs(row), k), row, 0)

    return _row_by_row(of_row, values)


def kth_largest(sizes: jax.Array, k: int) -> jax.Array:
    """The k-th largest of each row (w, d) of sizes, 0 or more: (w,). NaN is larger than all."""
    return _row_by_row(functools.partial(_kth_of_row, k=k), sizes)


def _row_by_row(function: Callable[[jax.Array], jax.Array], rows: jax.Array) -> jax.Array:
    """On a CPU one after the other, so that each stays in the cache."""
    return jax.lax.platform_dependent(
        rows, cpu=lambda rows: jax.lax.map(function, rows), default=jax.vmap(function)
    )


def _largest_of_row(sizes: jax.Array, k: int) -> jax.Array:
    keys = _keys(sizes)
    least, count = _least_of_largest(keys, k, above=_infinite(sizes.dtype) + 2)
    # Of those equal to the least the last are too many, from a place on.
    places, d = jnp.arange(len(keys), dtype=jnp.int32), jnp.full_like(count, len(keys))
    equal, surplus = keys == least, count - k
    low = (jnp.where(surplus > 0, 0, d), jnp.where(surplus > 0, d, 0))
    end, _ = _search(
        lambda place: _number(equal & (places >= place)), surplus, low, (d, jnp.zeros_like(count))
    )
    return (keys > least) | (equal & (places < end))


def _kth_of_row(sizes: jax.Array, k: int) -> jax.Array:
    keys = _keys(sizes)
    least, _ = _least_of_largest(keys, k, above=_infinite(sizes.dtype) + 2)
    exact = jnp.min(jnp.where(keys >= least, keys, jnp.iinfo(keys.dtype).max))
    size = jax.lax.bitcast_convert_type(exact, sizes.dtype)
    return jnp.where(jnp.isnan(size), jnp.nan, size)  # the key's is one that signals


def _keys(sizes: jax.Array) -> jax.Array:
    """Whole numbers in the order of the sizes, and about as their logarithms lie."""
    whole = jnp.dtype(f"int{8 * sizes.dtype.itemsize}")
    keys = jax.lax.bitcast_convert_type(sizes, whole) & jnp.iinfo(whole).max
    return jnp.minimum(keys, _infinite(sizes.dtype) + 1)


def _infinite(dtype: jnp.dtype) -> jax.Array:
    """The key of infinity; that of NaN is the next."""
    return jax.lax.bitcast_convert_type(jnp.array(jnp.inf, dtype), f"int{8 * dtype.itemsize}")


def _least_of_largest(keys: jax.Array, k: int, *, above: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A key that k of the keys, all below `above`, reach, and how many do: more where some are
    equal to it.
    """
    d = len(keys)
    # A sort of so few takes a quarter of the time of `top_k`. It is not merged with what reads all.
    sample = jnp.sort(jax.lax.optimization_barrier(keys[::SAMPLED]))
    rank, spread = k / SAMPLED, SPREAD * math.sqrt(k / SAMPLED) + 1
    first, last = max(math.floor(rank - spread), 0), min(math.ceil(rank + spread), len(sample) - 1)
    low, high = sample[-1 - last], sample[-1 - first]
    at_low, at_high = _number(keys >= low), _number(keys >= high)
    begins, ends = at_low >= k, at_high < k
    return _search(
        lambda key: _number(keys >= key),
        jnp.full_like(at_low, k),
        (jnp.where(begins, low, 0), jnp.where(begins, at_low, d)),
        (jnp.where(ends, high, above), jnp.where(ends, at_high, 0)),
    )


def _search(
    reaching: Callable[[jax.Array], jax.Array],
    wanted: jax.Array,
    low: tuple[jax.Array, jax.Array],
    high: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """A key that `wanted` reach, or where none is, the last one that more do; and how many.

    Args:
      reaching: how many reach a key, fewer the larger it is.
      wanted: how many shall reach it.
      low, high: between two keys, each with how many reach it: more than wanted or as many, and
        fewer. A larger number beside low only costs time.
    """

    def goes_on(state: tuple[jax.Array, ...]) -> jax.Array:
        _, low, at_low, high, _ = state
        return (at_low > wanted) & (high - low > 1)

    def turn(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        number, low, at_low, high, at_high = state
        # The logarithm of the number falls about as a line does; should it not, halving ends it.
        fall = jnp.log(at_low / wanted) / jnp.log(at_low / jnp.maximum(at_high, 0.5))
        share = jnp.where(number % 6 == 5, 0.5, fall)
        step = ((high - low) * share).astype(low.dtype)
        key = low + jnp.clip(step, 1, high - low - 1)
        number_at = reaching(key)
        enough = number_at >= wanted
        low, at_low = jnp.where(enough, key, low), jnp.where(enough, number_at, at_low)
        high, at_high = jnp.where(enough, high, key), jnp.where(enough, at_high, number_at)
        return number + 1, low, at_low, high, at_high

    start = (jnp.int32(0), *low, *high)
    _, key, count, _, _ = jax.lax.while_loop(goes_on, turn, first_carry(start, low[0]))
    return key, count


def _number(chosen: jax.Array) -> jax.Array:
    """How many are: XLA:CPU adds floats twice as fast as whole numbers."""
    dtype = jnp.float32 if len(chosen) < 2**24 else jnp.int32
    return jnp.sum(chosen.astype(dtype)).astype(jnp.int32)
