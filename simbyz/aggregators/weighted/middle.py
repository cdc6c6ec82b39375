"""The coordinate-wise lower weighted median, by sorting values together with their masses.

The middle value is the least one whose mass, with all below it, is at least the mass above it. Both
are sums over the sorted masses from their own end, one after the other: k equal masses give the
same sum from either end, so that equal masses halve exactly, whatever they are.
"""

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import first_carry
from simbyz._arrays.ranks.order_statistics import MAX_NETWORK_ROWS, comparators
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
    if len(stack) > MAX_NETWORK_ROWS:
        return _by_sorting(values, masses)
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


def _by_sorting(values: jax.Array, masses: jax.Array) -> jax.Array:
    each = jnp.broadcast_to(masses[:, None], values.shape)
    values, each = jax.lax.sort((values, each), dimension=0, num_keys=1)
    nothing = first_carry(jnp.zeros_like(each[0]), values)
    _, above = jax.lax.scan(lambda sum, mass: (sum + mass, sum), nothing, each, reverse=True)
    _, up_to = jax.lax.scan(lambda sum, mass: (sum + mass,) * 2, nothing, each)
    reached = (up_to >= above) & (up_to > 0)
    middle = jnp.take_along_axis(values, jnp.argmax(reached, axis=0)[None], axis=0)[0]
    return jnp.where(reached[-1], middle, jnp.nan)
