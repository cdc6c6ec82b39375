"""Distances between workers, and to a centre, in one reading of the stack."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from simbyz.order_statistics import sorted_rows
from simbyz.shapes import Distances
from simbyz.stacking import first_carry


def squared_distances(stack: jax.Array) -> jax.Array:
    """||x_i - x_j||² between the rows of an (n, d) stack, through one n × n × d matrix product.

    ||x_i - x_j||² = G_ii + G_jj - 2 G_ij loses the digits that the rows share, so the Gram matrix G
    is taken after subtracting a centre. The centre is the coordinate-wise median: a mean could be
    dragged away by a single huge row, and the honest rows' digits would be lost again.

    Args:
      stack: (n, d), with fewer than n / 2 rows that hold non-finite values.

    Returns:
      (n, n), at least float32, symmetric, zero on the diagonal; a distance that is not finite is
      +inf. Where the middle row has values above 2^40, in units in which it has not: rules only
      compare them, and the squares of 1e20 are no float32. It carries no derivative: which rows are
      close does not change with a small change of them, and what would be the derivative compiles
      for long.
    """

    stack = jax.lax.stop_gradient(stack)
    n = len(stack)
    middle = middle_row(stack)
    unit = _unit(middle)

    product = mirrored(sum_over_chunks(lambda rows: lower_gram(rows * unit), stack, middle))
    norms = jnp.diagonal(product)
    squares = norms[:, None] + norms[None, :] - 2 * product
    squares = jnp.where(jnp.isfinite(squares), jnp.maximum(squares, 0), jnp.inf)
    return jnp.where(jnp.eye(n, dtype=bool), 0, squares)


def gram(rows: jax.Array) -> jax.Array:
    """The inner products of the rows (n, d), all of them: (n, n)."""
    return mirrored(lower_gram(rows))


def known_or_measured(rule: str, stack: jax.Array, known: Distances | None) -> jax.Array:
    """The squared distances (n, n) of an (n, d) stack: those known already, or measured.

    Raises:
      ValueError: known ones of another shape.
    """
    if known is None:
        return squared_distances(stack)
    n = len(stack)
    if jnp.shape(known) != (n, n):
        raise ValueError(
            f"{rule} needs squared_distances of shape ({n}, {n}), got {jnp.shape(known)}"
        )
    return jax.lax.stop_gradient(jnp.asarray(known))


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


def squared_distances_to(center: jax.Array, stack: jax.Array) -> jax.Array:
    """||x_i - c||² of the rows of an (n, d) stack to a centre (d,): (n,), at least float32.

    It carries no derivative, and may be NaN where a row is not finite.
    """

    def squares(centered: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(centered), axis=1)

    return sum_over_chunks(squares, *jax.lax.stop_gradient((stack, center)))


def middle_row(stack: jax.Array) -> jax.Array:
    """The coordinate-wise lower median (d,) of an (n, d) stack, NaN counting as +inf."""
    middle = (len(stack) - 1) // 2
    return sorted_rows(stack, [middle])[middle]


def _unit(middle: jax.Array) -> jax.Array:
    """A power of two to multiply rows by, which rounds nothing, so that the largest value of the
    middle row is at most 2^40; 1 where it is. Of its exponent, as no attacker can raise it.
    """
    largest = jnp.max(jnp.abs(middle.astype(jnp.promote_types(middle.dtype, jnp.float32))))
    _, exponent = jnp.frexp(jnp.where(jnp.isfinite(largest), largest, 1))
    return jnp.ldexp(jnp.ones_like(largest), -jnp.maximum(exponent - 40, 0))


# The axis of a mesh over which coordinates may be cut: see `simbyz.mesh`.
SHARD = "shard"
# Values handled at once: half of a core's second-level cache of one megabyte.
CHUNK = 2**17


def chunk_width(stack: jax.Array) -> int:
    """How many coordinates of all rows (n, d) to handle at once."""
    n, d = stack.shape
    return max(1, min(CHUNK // n, d))


def sum_over_chunks(
    function: Callable[[jax.Array], jax.Array], stack: jax.Array, center: jax.Array
) -> jax.Array:
    """The sum of a function of the rows minus a centre, over chunks of coordinates.

    For one, a chunk that was just centred is still in the cache. For another, what a loop reads is
    an array: outside of one, XLA would fuse a sorting network that makes the centre into the
    subtraction, and run it again for each of the n rows.

    In a mesh with an axis `SHARD`, each device sums over its coordinates, and they add their sums.
    """
    if SHARD in jax.sharding.get_abstract_mesh().auto_axes:

        def own(stack: jax.Array, center: jax.Array) -> jax.Array:
            return jax.lax.psum(_sum_over_chunks(function, stack, center), SHARD)

        cut = PartitionSpec(None, SHARD), PartitionSpec(SHARD)
        return jax.shard_map(own, in_specs=cut, out_specs=PartitionSpec())(stack, center)
    return _sum_over_chunks(function, stack, center)


def _sum_over_chunks(
    function: Callable[[jax.Array], jax.Array], stack: jax.Array, center: jax.Array
) -> jax.Array:
    n, d = stack.shape
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    size = chunk_width(stack)

    def turn(turn: jax.Array, total: jax.Array) -> jax.Array:
        # The last chunk is moved back to stay inside: its first coordinates were counted before.
        start = jnp.clip(turn * size, 0, d - size)
        rows = jax.lax.dynamic_slice_in_dim(stack, start, size, axis=1).astype(dtype)
        middle = jax.lax.dynamic_slice_in_dim(center, start, size).astype(dtype)
        new = start + jnp.arange(size) >= turn * size
        return total + function(jnp.where(new[None], rows - middle[None], 0))

    shape = jax.eval_shape(function, jax.ShapeDtypeStruct((n, size), dtype)).shape
    return jax.lax.fori_loop(0, -(-d // size), turn, first_carry(jnp.zeros(shape, dtype), stack))
