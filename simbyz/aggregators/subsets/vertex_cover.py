"""Sets of rows without a conflict between them, by an exact search that stays small.

Such a set is what a vertex cover of the graph of conflicts leaves: rows that, once dropped, end
every conflict. With b drops to spend, a tree of choices that always decides about the row with most
conflicts has fewer than 1.47^b leaves, whatever the graph: 45 for b = 10.
"""

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import first_carry


def has_independent_set(conflicts: jax.Array, alive: jax.Array, size: int) -> jax.Array:
    """Whether some `size` of the alive rows have no conflict between them.

    Args:
      conflicts: (n, n) booleans, symmetric, false on the diagonal.
      alive: (n,) booleans, the rows to choose from.
      size: rows wanted.

    Returns:
      A boolean.

    Cost: at most n · 1.47^(n - size) steps of n² operations each, as a rule a handful.
    Reference: Niedermeier, Invitation to fixed-parameter algorithms, 2006.
    """
    n = len(alive)
    # Each entry is a set of rows that one series of choices has left. It has at least one drop
    # fewer to spend than the entry below it, so the stack is deep enough.
    stack = jnp.zeros((n - size + 2, n), dtype=bool).at[0].set(alive)
    State = tuple[jax.Array, jax.Array, jax.Array]

    def searching(state: State) -> jax.Array:
        _, top, found = state
        return (top >= 0) & ~found

    def step(state: State) -> State:
        stack, top, _ = state
        alive = stack[top]
        graph = conflicts & alive[:, None] & alive[None, :]
        degrees = jnp.sum(graph, axis=1, dtype=jnp.int32)
        most, ends = jnp.max(degrees), jnp.sum(degrees)
        drops = jnp.sum(alive, dtype=jnp.int32) - size
        # One drop ends `most` conflicts at best, and each conflict has two ends.
        hopeless = (drops < 0) | (ends > 2 * drops * most)

        # A row with a single conflict: its other side is as good a drop as any. Otherwise, if no
        # row has more than two conflicts, they form rings, on which any row is. A row with more
        # conflicts than there are drops has to go. Only else are there two ways: drop the row of
        # most conflicts, or all that it conflicts with.
        single = degrees == 1
        pendant = jnp.any(single)
        row = jnp.where(pendant, jnp.argmax(graph[jnp.argmax(single)]), jnp.argmax(degrees))
        two_ways = ~pendant & (most > 2) & (most <= drops)
        without_row = alive & (jnp.arange(n) != row)
        without_others = alive & ~graph[row]

        # What lies above the new top is never read.
        stack = stack.at[top].set(jnp.where(two_ways, without_others, without_row))
        stack = stack.at[top + 1].set(without_row)
        return stack, top + jnp.where(hopeless, -1, two_ways), (ends == 0) & ~hopeless

    start = (stack, jnp.asarray(0, jnp.int32), jnp.asarray(False))
    return jax.lax.while_loop(searching, step, first_carry(start, conflicts))[2]


def first_independent_set(conflicts: jax.Array, size: int) -> jax.Array:
    """The first in lexicographic order of the sets of `size` rows without a conflict.

    Args:
      conflicts: (n, n) booleans, symmetric, false on the diagonal, such that there is one.
      size: rows wanted.

    Returns:
      (n,) booleans.
    """
    n = len(conflicts)

    def visit(row: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        alive, chosen = state
        # Take the row, if a set is left without all that it conflicts with.
        left = alive & ~conflicts[row]
        wanted = alive[row] & (jnp.sum(chosen) < size)
        # A row not wanted is asked for with nothing left, which costs one step.
        takes = has_independent_set(conflicts, left & wanted, size)
        here = jnp.arange(n) == row
        return jnp.where(takes, left, alive & ~here), chosen | (here & takes)

    start = (jnp.ones(n, dtype=bool), jnp.zeros(n, dtype=bool))
    return jax.lax.fori_loop(0, n, visit, first_carry(start, conflicts))[1]


def first_subset_of_smallest_diameter(distances: jax.Array, size: int) -> jax.Array:
    """The `size` rows whose largest distance is smallest, the first such set in lexicographic
    order.

    The largest distance is one of the n (n - 1) / 2: a binary search among them finds it. Two rows
    farther apart than that are in conflict.

    Args:
      distances: (n, n), symmetric, zero on the diagonal, without NaN.
      size: rows wanted, from 1 to n.

    Returns:
      (n,) booleans.
    """
    n = len(distances)
    lengths = jnp.sort(jnp.append(distances[jnp.triu_indices(n, 1)], 0))
    everyone = jnp.ones(n, dtype=bool)

    def halve(_: jax.Array, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) // 2
        enough = has_independent_set(distances > lengths[middle], everyone, size)
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    bounds = first_carry((jnp.asarray(0), jnp.asarray(len(lengths) - 1)), distances)
    _, place = jax.lax.fori_loop(0, len(lengths).bit_length(), halve, bounds)
    return first_independent_set(distances > lengths[place], size)
