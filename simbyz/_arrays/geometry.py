"""Distances between workers, and to a centre, in one reading of the stack."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import first_carry, in_mesh, sum_over_chunks
from simbyz._arrays.ranks.order_statistics import sorted_columns, sorted_rows
from simbyz._arrays.ranks.pieces import by_pieces
from simbyz._arrays.redo import redo_if
from simbyz._arrays.scales import MOST, are_usual, nan_as_inf, unit_of_rows, wide

# Coordinates by which a row to centre on is chosen.
SAMPLE = 128
# Up to so many values, their median is found as soon as such a row.
FEW_VALUES = 2**20


class Squares(NamedTuple):
    """Squared lengths of any shape, in a unit (): those of the rows multiplied by it."""

    values: jax.Array
    unit: jax.Array


def squared_distances(stack: jax.Array) -> jax.Array:
    """`distances_between`, in whatever unit, for rules, which only compare them."""
    return distances_between(stack).values


def distances_between(stack: jax.Array) -> Squares:
    """||x_i - x_j||² between the rows of an (n, d) stack, through one n × n × d matrix product.

    ||x_i - x_j||² = G_ii + G_jj - 2 G_ij loses the digits that the rows share, so the Gram matrix G
    is taken after subtracting a centre: the coordinate-wise median, which no minority of rows can
    drag away, as one huge row would drag a mean. Among many values it is one of the rows instead,
    which lies amid the others at a few coordinates. Should the distances tell that elsewhere it
    does not, they are taken again around the median.

    Args:
      stack: (n, d), with fewer than n / 2 rows that hold non-finite values.

    Returns:
      (n, n), at least float32, symmetric, zero on the diagonal; a distance that is not finite is
      +inf. The unit is 1, but where the middle row would be 1e-12 or 1e12 from the centre or more:
      there it is about 1 in that unit. What is 1e19 times as far is infinitely far, what is 1e-19
      times as far is in one place. It carries no derivative: which rows are close does not change
      with a small change of them, and what would be the derivative compiles for long.
    """
    stack = jax.lax.stop_gradient(stack)
    if in_mesh():
        return _in_its_unit(middle_row(stack), stack)
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    one = first_carry(jnp.ones((), dtype), stack)
    if stack.size <= FEW_VALUES:
        center = middle_row(stack)
        squares, norms = _distances_around(center, stack)
        again = ~are_usual(norms)
        return redo_if(again, Squares(squares, one), _in_its_unit, center, stack)
    row, hopeless = _row_amid_the_others(stack)
    squares, norms = _distances_around(stack[row], stack)
    again = ~hopeless & ~(_keeps_digits(squares, norms) & are_usual(norms))

    def around_the_middle(stack: jax.Array) -> Squares:
        return _in_its_unit(middle_row(stack), stack)

    return redo_if(again, Squares(squares, one), around_the_middle, stack)


def _in_its_unit(center: jax.Array, stack: jax.Array) -> Squares:
    unit = unit_of_rows(stack, center)
    return Squares(_distances_around(center, stack, unit)[0], unit)


def _row_amid_the_others(stack: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The number of the row with the least median distance to the others, in the sum of absolute
    differences at every so many coordinates; and whether most rows are not finite even there.
    """
    n, d = stack.shape
    some = wide(stack[:, :: -(-d // SAMPLE)])
    apart = jnp.sum(jnp.abs(some[:, None] - some[None]), axis=2)
    broken = jnp.isnan(jnp.diagonal(apart))
    middle = sorted_columns(nan_as_inf(apart))[n // 2]
    return jnp.argmin(middle), 2 * jnp.sum(broken) > n


def _distances_around(
    center: jax.Array, stack: jax.Array, unit: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """The squared distances (n, n) by way of a centre (d,), and those to the centre (n,)."""
    product = mirrored(sum_over_chunks(lower_gram, stack, center, unit))
    norms = jnp.diagonal(product)
    squares = norms[:, None] + norms[None, :] - 2 * product
    squares = jnp.where(jnp.isfinite(squares), jnp.maximum(squares, 0), jnp.inf)
    return jnp.where(jnp.eye(len(stack), dtype=bool), 0, squares), norms


def _keeps_digits(squares: jax.Array, norms: jax.Array) -> jax.Array:
    """Whether most rows are about as far from most others as from the centre, or farther.

    Else most honest rows may be far from the centre together, and what they share eats their
    digits. Fewer than half of the rows cannot hide that.
    """
    n = len(norms)
    far = (norms[:, None] <= 4 * squares) & ~jnp.eye(n, dtype=bool)
    most = 2 * jnp.sum(far, axis=1) > n
    return 2 * jnp.sum(most & jnp.isfinite(norms)) > n


def full_product(one: jax.Array, other: jax.Array) -> jax.Array:
    """The matrix product, with all digits: by default a GPU might round the factors to TF32, of 10
    bits.
    """
    return jnp.matmul(one, other, precision=jax.lax.Precision.HIGHEST)


def gram(rows: jax.Array) -> jax.Array:
    """The inner products of the rows (n, d), all of them: (n, n)."""
    return mirrored(lower_gram(rows))


def lower_gram(rows: jax.Array) -> jax.Array:
    """The inner products of the rows (n, d), right on and below the diagonal: (n, n).

    On a CPU the columns are made in blocks, each from its diagonal down: at n = 51 and n = 25 a
    product of whole matrices takes 1.4 times as long, at n = 100 1.1 times. A GPU would read the
    rows once more for each block.
    """
    n = len(rows)
    block = 16 * -(-n // 64)
    # As `full_product`, without a transpose, of which vmap would make a copy.
    product = functools.partial(
        jax.lax.dot_general,
        dimension_numbers=(((1,), (1,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
    )

    def in_blocks(rows: jax.Array) -> jax.Array:
        columns = [product(rows[i:], rows[i : i + block]) for i in range(0, n, block)]
        filled = [jnp.pad(column, ((n - len(column), 0), (0, 0))) for column in columns]
        return jnp.concatenate(filled, axis=1)

    return jax.lax.platform_dependent(rows, cpu=in_blocks, default=lambda rows: product(rows, rows))


def mirrored(lower: jax.Array) -> jax.Array:
    """A symmetric matrix (n, n) of which only the diagonal and what is below it is known."""
    return jnp.where(jnp.tri(len(lower), dtype=bool), lower, lower.T)


class Reached(NamedTuple):
    """A centre (d,), and the squared distances (n,) of the rows to it."""

    center: jax.Array
    squares: Squares


def squared_norms(stack: jax.Array) -> Squares:
    """||x_i||² of the rows of an (n, d) stack: (n,), at least float32. They carry no derivative."""
    stack = jax.lax.stop_gradient(stack)

    def norms(stack: jax.Array, unit: jax.Array | None = None) -> jax.Array:
        rows = wide(stack)
        return jnp.sum(jnp.square(rows if unit is None else rows * unit), axis=1)

    def in_their_unit(stack: jax.Array) -> Squares:
        unit = unit_of_rows(stack)
        return Squares(norms(stack, unit), unit)

    if in_mesh():
        return in_their_unit(stack)
    squares = norms(stack)
    one = first_carry(jnp.ones((), squares.dtype), stack)
    # One that is infinite may be of a row that is not.
    bad = ~are_usual(squares) | ~jnp.all(jnp.isfinite(squares))
    return redo_if(bad, Squares(squares, one), in_their_unit, stack)


def squared_distances_to(
    center: jax.Array, stack: jax.Array, known: Reached | None = None
) -> Squares:
    """||x_i - c||² of the rows of an (n, d) stack to a centre (d,): (n,), at least float32.

    From the distances to another centre, those known or the norms of the rows, they follow by one
    product of the stack with the way between the centres, which takes a third of the time. It would
    lose digits where rows are close to the centre, or they and both centres together far from zero:
    then each row is subtracted. So it is where the squares are not usual, in another unit.

    They carry no derivative, and may be NaN or +inf where a row is not finite, or 1e19 times as far
    as the middle one.
    """
    center, stack, known = jax.lax.stop_gradient((center, stack, known))

    def one_by_one(center: jax.Array, stack: jax.Array, unit: jax.Array) -> Squares:
        values = _squares_around(center, stack, unit)
        return redo_if(~are_usual(values), Squares(values, unit), _around_in_unit, center, stack)

    if in_mesh():
        return _around_in_unit(center, stack)
    # To another dtype, the stack would be copied.
    if stack.dtype != center.dtype:
        one = jnp.ones((), jnp.promote_types(stack.dtype, center.dtype))
        return one_by_one(center, stack, first_carry(one, stack))
    if known is None:
        before, unit = squared_norms(stack)
        way = center * unit
        start = offset = jnp.zeros((), way.dtype)
    else:
        before, unit = known.squares
        way = (center - known.center) * unit
        start, offset = jnp.linalg.norm(known.center * unit), jnp.sum(known.center * unit * way)
    along, length = full_product(stack, way) * unit, jnp.sum(jnp.square(way))
    moved = before - 2 * (along - offset) + length
    # What rounding is proportional to: |x_i| is at most |known.center| + |x_i - known.center|.
    sizes = 2 * start + jnp.sqrt(before)
    terms = before + 2 * sizes * jnp.sqrt(length) + length
    close = jnp.isfinite(before) & ~(terms <= 32 * moved)
    # A row that was too far from one centre may be near to another, if that is far from the first.
    far = ~(length < jnp.finfo(length.dtype).max / 256)
    # Of rows so small, products with the way are flushed to 0.
    bad = far | jnp.any(close) | ~are_usual(moved) | (unit > MOST)
    return redo_if(bad, Squares(moved, unit), one_by_one, center, stack, unit)


def usual_or_again(squares: jax.Array, center: jax.Array, stack: jax.Array) -> Squares:
    """Squared distances (n,) of the rows to a centre, taken again in a unit if they are not usual.
    None of this has a derivative.
    """
    if in_mesh():
        return _around_in_unit(center, stack)
    one = first_carry(jnp.ones((), squares.dtype), stack)
    return redo_if(~are_usual(squares), Squares(squares, one), _around_in_unit, center, stack)


def _around_in_unit(center: jax.Array, stack: jax.Array) -> Squares:
    unit = unit_of_rows(stack, center)
    return Squares(_squares_around(center, stack, unit), unit)


def _squares_around(center: jax.Array, stack: jax.Array, unit: jax.Array) -> jax.Array:
    return sum_over_chunks(lambda rows: jnp.sum(jnp.square(rows), axis=1), stack, center, unit)


def middle_row(stack: jax.Array) -> jax.Array:
    """The coordinate-wise lower median (d,) of an (n, d) stack, NaN counting as +inf."""
    middle = (len(stack) - 1) // 2
    return by_pieces(lambda rows: sorted_rows(rows, [middle])[middle])(stack)
