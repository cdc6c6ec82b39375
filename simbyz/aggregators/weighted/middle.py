"""The coordinate-wise lower weighted median: of few rows by sorting values together with their
masses, of many by bisection.

The middle value is the least one whose mass, with all below it, is at least the mass above it. Both
are sums of masses one after the other, of few rows from their own end: k equal masses give the same
sum from either end, so that equal masses halve exactly, whatever they are.
"""

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import first_carry
from simbyz._arrays.ranks.many_rows import ordered_keys, sum_of, values_of_keys
from simbyz._arrays.ranks.order_statistics import MAX_ORDERED_ROWS, comparators
from simbyz._arrays.ranks.pieces import by_pieces
from simbyz._arrays.scales import nan_as_inf


@jax.custom_jvp
def weighted_middle_row(stack: jax.Array, masses: jax.Array) -> jax.Array:
    """The coordinate-wise lower weighted median (d,), NaN counting as +inf.

    Args:
      stack: (n, d).
      masses: (n,), not negative. It carries no derivative with respect to them.

    Returns:
      (d,), each coordinate one of the rows'; NaN where all masses are 0.
    """
    values = nan_as_inf(stack)
    # A comparator that moves masses, too, is longer: see `MAX_OUTPUTS`.
    if len(stack) > MAX_ORDERED_ROWS:
        return by_pieces(lambda values: _by_bisection(values, masses))(values)
    return _by_network(list(values), list(masses))


@weighted_middle_row.defjvp
def _with_tangents(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    """The tangent of the first row that holds the middle value."""
    (stack, masses), (moving, _) = primals, tangents
    # The barrier keeps the network from being computed again for each row that is compared.
    middle = jax.lax.optimization_barrier(weighted_middle_row(stack, masses))
    holds = (nan_as_inf(stack) == middle[None]) & (masses > 0)[:, None]
    first = jnp.argmax(holds, axis=0)
    chosen = jnp.arange(len(stack))[:, None] == first[None]
    return middle, jnp.sum(jnp.where(chosen, moving, 0), axis=0)


def _by_network(values: list[jax.Array], masses: list[jax.Array]) -> jax.Array:
    """Rows (d,) and their masses () through one sorting network with a single output."""
    n = len(values)
    for i, j in comparators(n):
        (a, b), (of_a, of_b) = (values[i], values[j]), (masses[i], masses[j])
        less = a < b
        values[i], values[j] = jnp.where(less, a, b), jnp.where(less, b, a)
        masses[i], masses[j] = jnp.where(less, of_a, of_b), jnp.where(less, of_b, of_a)
    up_to, above = [masses[0]], [jnp.zeros_like(masses[0])]
    for k in range(1, n):
        up_to.append(up_to[-1] + masses[k])
        above.append(above[-1] + masses[n - k])
    middle = jnp.full_like(values[0], jnp.nan)
    for k in reversed(range(n)):
        reached = (up_to[k] >= above[n - 1 - k]) & (up_to[k] > 0)
        middle = jnp.where(reached, values[k], middle)
    return middle


def _by_bisection(values: jax.Array, masses: jax.Array) -> jax.Array:
    """The largest value (d,) below which lies less mass than from it on, bit by bit."""
    keys = ordered_keys(values)
    least, bits = jnp.iinfo(keys.dtype).min, 8 * keys.dtype.itemsize

    def turn(number: jax.Array, found: jax.Array) -> jax.Array:
        candidate = found + (keys.dtype.type(1) << (bits - 1 - number).astype(keys.dtype))
        below = sum_of(lambda row, mass: jnp.where(row < candidate, mass, 0), keys, masses)
        beyond = sum_of(lambda row, mass: jnp.where(row < candidate, 0, mass), keys, masses)
        return jnp.where((below < beyond) | (below == 0), candidate, found)

    start = first_carry(jnp.full(keys.shape[1], least, keys.dtype), keys)
    middle = values_of_keys(jax.lax.fori_loop(0, bits, turn, start), values.dtype)
    return jnp.where(jnp.any(masses > 0), middle, jnp.nan)
