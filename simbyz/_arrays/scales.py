"""Scales: powers of two that bring numbers to where their squares are numbers, without rounding.

The square of a float32 below 1e-19 is 0, and above 1.8e19 infinite. Squares are therefore taken as
they stand, which costs nothing, and once more in a unit where they turn out not to be usual.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from simbyz._arrays.chunks import in_mesh
from simbyz._arrays.redo import redo_if

# Squares of usual size: far enough from both ends for what is much smaller and much larger.
LEAST, MOST = 2.0**-80, 2.0**80


def wide(values: jax.Array) -> jax.Array:
    """The values in at least float32."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def part_of(n: int) -> float:
    """Such a part of n floats, a power of two, that the sum of them is a float."""
    return 0.5 ** (n.bit_length() + 1)


def hidden_part(n: int, dtype: DTypeLike) -> jax.Array:
    """`part_of` () behind a barrier: of a power of two that it knows, XLA multiplies the sum
    instead, which then is none.
    """
    return jax.lax.optimization_barrier(jnp.asarray(part_of(n), dtype))


def made_whole(total: jax.Array, part: jax.Array) -> jax.Array:
    """total / part, which rounding alone does not make infinite: the mean of rows that all are the
    largest float is it.
    """
    value, most = total / part, jnp.finfo(total.dtype).max
    return jnp.where(jnp.isfinite(total), jnp.clip(value, -most, most), value)


def nan_as_inf(values: jax.Array) -> jax.Array:
    """The values with +inf in the place of NaN, which has no place in an order."""
    return jnp.where(jnp.isnan(values), jnp.inf, values)


def unit_of(size: jax.Array) -> jax.Array:
    """A power of two to multiply numbers of some size by, which brings them to between 1/2 and 1;
    1 where the size is 0 or not finite. As far as that power is a float: a size within 2^28 of the
    largest float is brought to at most 2^28.
    """
    size = jax.lax.stop_gradient(size)
    usable = jnp.isfinite(size) & (size > 0)
    limits = jnp.finfo(size.dtype)
    _, exponent = jnp.frexp(jnp.where(usable, size, 0.5))
    exponent = jnp.clip(-exponent, 28 - limits.maxexp, -limits.minexp)
    return jnp.ldexp(jnp.ones_like(size), exponent)


def divided(values: jax.Array, sizes: jax.Array) -> jax.Array:
    """values / sizes in at least float32, of positive sizes as large as floats are: XLA divides by
    what is broadcast as by 1 / size, which of 1e38 is 0.
    """
    sizes = wide(sizes)
    unit = unit_of(sizes)
    return wide(values) * unit / (sizes * unit)


def middle_of(values: jax.Array) -> jax.Array:
    """The lower median () of values (n,), NaN as +inf."""
    return jnp.sort(nan_as_inf(values))[(len(values) - 1) // 2]


def median_of_chosen(values: jax.Array, chosen: jax.Array) -> jax.Array:
    """The median () of the values (n,) that are chosen, (n,) booleans; +inf of none."""
    ordered = jnp.sort(jnp.where(chosen, values, jnp.inf))
    count = jnp.maximum(jnp.sum(chosen), 1)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2


def are_usual(squares: jax.Array) -> jax.Array:
    """Whether the middle one of some squares (n,) is of usual size: not for most of them being 0,
    or infinite. What fewer than half of the rows are cannot change it.
    """
    middle = middle_of(squares)
    return (middle >= LEAST) & (middle <= MOST)


def unit_of_rows(stack: jax.Array, center: jax.Array | None = None) -> jax.Array:
    """A unit () for the rows (n, d) that are neither at a centre (d,), zero if None, nor infinitely
    far from it. The middle one of them is brought to between 1/2 and 1; or down to 2^-40, where its
    square still is a number with all digits, if that is needed for the squares of the farthest. 1
    where that is from 2^-40 to 2^40.
    """
    unit = _unit_of_middle(stack)
    if center is None:
        return _one_if_usual(unit)
    # In that unit, since the difference of two large floats may be none, and of two small ones 0.
    apart = wide(stack) * unit - (wide(center) * unit)[None]
    limits = jnp.finfo(unit.dtype)
    most, least = 2.0**-limits.minexp, 2.0 ** (28 - limits.maxexp)
    return _one_if_usual(jnp.clip(unit * _unit_of_middle(apart), least, most))


def _one_if_usual(unit: jax.Array) -> jax.Array:
    return jnp.where((unit > 2.0**-40) & (unit < 2.0**40), 1, unit)


def _unit_of_middle(stack: jax.Array) -> jax.Array:
    sizes = jnp.abs(wide(stack))
    # XLA:CPU's maximum of many values passes over NaN.
    sizes = jnp.max(nan_as_inf(sizes), axis=1)
    some = jnp.isfinite(sizes) & (sizes > 0)
    ordered, last = jnp.sort(jnp.where(some, sizes, jnp.inf)), jnp.maximum(jnp.sum(some) - 1, 0)
    unit = unit_of(ordered[last // 2])
    for_the_farthest = unit_of(ordered[last]) * 2.0**30
    return jnp.maximum(unit * 2.0**-40, jnp.minimum(unit, for_the_farthest))


def unit_of_largest(values: jax.Array) -> jax.Array:
    """The unit () of the largest of some values that is finite."""
    sizes = jnp.abs(wide(values))
    return unit_of(jnp.max(jnp.where(jnp.isfinite(sizes), sizes, 0)))


def unit_where_unusual(values: jax.Array) -> jax.Array:
    """`unit_of_largest`; 1 where the square of the largest is of usual size."""
    return _one_if_usual(unit_of_largest(values))


def length_of(vector: jax.Array) -> jax.Array:
    """The norm () of a vector, whatever its size."""
    unit = unit_where_unusual(vector)
    return jnp.linalg.norm(wide(vector) * unit) / unit


def unit(vector: jax.Array) -> jax.Array:
    """A vector divided by its norm, whatever its size; zero stays zero."""
    vector = vector * unit_where_unusual(vector)
    norm = jnp.linalg.norm(vector)
    return vector / jnp.where(norm > 0, norm, 1)


class OwnLengths(NamedTuple):
    """Norms (n,) of rows, each in a unit (n,) of its own; +inf of a row that is not finite."""

    values: jax.Array
    units: jax.Array

    def factors(self, bound: jax.Array | float) -> tuple[jax.Array, jax.Array]:
        """Two numbers (n,) to multiply each row by, so that none is longer than a bound () in no
        unit: at once they may be none, as 1 / 1e38. A row that is not finite has no direction to
        keep, and none.
        """
        long = jnp.isfinite(self.values) & (self.values > bound * self.units)
        ratios = bound / jnp.where(long, self.values, 1)
        return jnp.where(long, self.units, 1), jnp.where(long, ratios, 1)


def own_lengths(stack: jax.Array) -> OwnLengths:
    """The norm of each row of an (n, d) stack, in at least float32. Its derivative is 0 at zero and
    where a row is not finite.
    """
    squares, units = _own_squares(stack)
    positive = jnp.isfinite(squares) & (squares > 0)
    roots = jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)
    return OwnLengths(jnp.where(jnp.isfinite(squares), roots, jnp.inf), units)


@jax.custom_jvp
def _own_squares(stack: jax.Array) -> tuple[jax.Array, jax.Array]:
    squares = jnp.sum(jnp.square(wide(stack)), axis=1)
    usual = (squares >= LEAST) & (squares <= MOST)

    def each_in_its_unit(
        stack: jax.Array, squares: jax.Array, usual: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        sizes = jnp.abs(wide(stack))
        largest = jnp.max(nan_as_inf(sizes), axis=1)
        units = jnp.where(usual, 1, unit_of(largest))
        again = jnp.sum(jnp.square(wide(stack) * units[:, None]), axis=1)
        return jnp.where(usual, squares, again), units

    if in_mesh():
        return each_in_its_unit(stack, squares, usual)
    # Units that vary over devices where the squares do.
    ones = jnp.where(usual, 1, jnp.ones_like(squares))
    return redo_if(~jnp.all(usual), (squares, ones), each_in_its_unit, stack, squares, usual)


@_own_squares.defjvp
def _own_squares_move(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, ...]:
    (stack,), (moves,) = primals, tangents
    squares, units = _own_squares(stack)
    rows = jnp.where(jnp.isfinite(squares)[:, None], wide(stack) * units[:, None], 0)
    change = 2 * jnp.sum(rows * (wide(moves) * units[:, None]), axis=1)
    return (squares, units), (change, jnp.zeros_like(units))
