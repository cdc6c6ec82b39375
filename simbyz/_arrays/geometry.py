"""Distances between workers, and to a centre, in one reading of the stack."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import in_mesh, sum_over_chunks
from simbyz._arrays.order_statistics import sorted_columns, sorted_rows
from simbyz._arrays.redo import redo_if

# Coordinates by which a row to centre on is chosen.
SAMPLE = 128
# Up to so many values, their median is found as soon as such a row.
FEW_VALUES = 2**20


def squared_distances(stack: jax.Array) -> jax.Array:
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
      +inf. Where the centre has values above 2^40, in units in which it has not: rules only compare
      them, and the squares of 1e20 are no float32. It carries no derivative: which rows are close
      does not change with a small change of them, and what would be the derivative compiles for
      long.
    """

    stack = jax.lax.stop_gradient(stack)
    if stack.size <= FEW_VALUES or in_mesh():
        return _distances_around(middle_row(stack), stack)[0]
    row, hopeless = _row_amid_the_others(stack)
    squares, norms = _distances_around(stack[row], stack)
    again = ~hopeless & ~_keeps_digits(squares, norms)

    def around_the_median(stack: jax.Array) -> jax.Array:
        return _distances_around(middle_row(stack), stack)[0]

    return redo_if(again, squares, around_the_median, stack)


def _row_amid_the_others(stack: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The number of the row with the least median distance to the others, in the sum of absolute
    differences at every so many coordinates; and whether most rows are not finite even there.
    """
    n, d = stack.shape
    some = stack[:, :: -(-d // SAMPLE)].astype(jnp.promote_types(stack.dtype, jnp.float32))
    apart = jnp.sum(jnp.abs(some[:, None] - some[None]), axis=2)
    broken = jnp.isnan(jnp.diagonal(apart))
    middle = sorted_columns(jnp.where(jnp.isnan(apart), jnp.inf, apart))[n // 2]
    return jnp.argmin(middle), 2 * jnp.sum(broken) > n


def _distances_around(center: jax.Array, stack: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The squared distances (n, n) by way of a centre (d,), and those to the centre (n,)."""
    unit = _unit(center)
    product = mirrored(sum_over_chunks(lambda rows: lower_gram(rows * unit), stack, center))
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
    # Without a transpose, of which vmap would make a copy. HIGHEST: the default would let a GPU
    # round the factors to TF32, 10 bits.
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
    return jnp.tril(lower) + jnp.tril(lower, -1).T


def squared_norms(stack: jax.Array) -> jax.Array:
    """||x_i||² of the rows of an (n, d) stack: (n,), at least float32. They carry no derivative."""
    rows = jax.lax.stop_gradient(stack)
    return jnp.sum(jnp.square(rows.astype(jnp.promote_types(rows.dtype, jnp.float32))), axis=1)


class Reached(NamedTuple):
    """A centre (d,), and the squared distances (n,) of the rows to it."""

    center: jax.Array
    squares: jax.Array


def squared_distances_to(
    center: jax.Array, stack: jax.Array, known: Reached | None = None
) -> jax.Array:
    """||x_i - c||² of the rows of an (n, d) stack to a centre (d,): (n,), at least float32.

    From the distances to another centre, those known or the norms of the rows, they follow by one
    product of the stack with the way between the centres, which takes a third of the time. It would
    lose digits where rows are close to the centre, or they and both centres together far from zero:
    then each row is subtracted.

    They carry no derivative, and may be NaN or +inf where a row is not finite, or too long for its
    square.
    """
    center, stack, known = jax.lax.stop_gradient((center, stack, known))

    def squares(centered: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(centered), axis=1)

    def one_by_one(center: jax.Array, stack: jax.Array) -> jax.Array:
        return sum_over_chunks(squares, stack, center)

    # To another dtype, the stack would be copied.
    if stack.dtype != center.dtype or in_mesh():
        return one_by_one(center, stack)
    if known is None:
        known = Reached(jnp.zeros_like(center), squared_norms(stack))
    way = center - known.center
    along = jnp.matmul(stack, way, precision=jax.lax.Precision.HIGHEST)
    length, offset = jnp.sum(jnp.square(way)), jnp.sum(known.center * way)
    moved = known.squares - 2 * (along - offset) + length
    # What rounding is proportional to: |x_i| is at most |known.center| + |x_i - known.center|.
    sizes = 2 * jnp.linalg.norm(known.center) + jnp.sqrt(known.squares)
    terms = known.squares + 2 * sizes * jnp.sqrt(length) + length
    close = jnp.isfinite(known.squares) & ~(terms <= 32 * moved)
    # A row that was too far from one centre may be near to another, if that is far from the first.
    far = ~(length < jnp.finfo(length.dtype).max / 256)
    return redo_if(far | jnp.any(close), moved, one_by_one, center, stack)


def middle_row(stack: jax.Array) -> jax.Array:
    """The coordinate-wise lower median (d,) of an (n, d) stack, NaN counting as +inf."""
    middle = (len(stack) - 1) // 2
    return sorted_rows(stack, [middle])[middle]


def _unit(center: jax.Array) -> jax.Array:
    """A power of two to multiply rows by, which rounds nothing, so that the largest value of the
    centre is at most 2^40; 1 where it is.
    """
    largest = jnp.max(jnp.abs(center.astype(jnp.promote_types(center.dtype, jnp.float32))))
    _, exponent = jnp.frexp(jnp.where(jnp.isfinite(largest), largest, 1))
    return jnp.ldexp(jnp.ones_like(largest), -jnp.maximum(exponent - 40, 0))
