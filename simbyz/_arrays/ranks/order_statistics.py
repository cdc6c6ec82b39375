"""Sorting networks over the worker axis: the fast heart of every coordinate-wise rule.

`jnp.sort` along the short, leading axis of an (n, d) stack sorts d tiny columns one by one. A
sorting network does the same n log² n comparisons on whole rows instead: every comparator is one
`min` and one `max` over d coordinates, without a branch, so that XLA fuses the unrolled network
into a single vectorised pass over the stack.

The network must feed ONE output. XLA recomputes an unrolled network for each of its outputs, so
callers reduce the sorted rows to one array (a rank, a mean of ranks) before returning, and never
stack them.
"""

import functools
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import first_carry
from simbyz._arrays.ranks.many_rows import ordered_keys, values_of_keys, values_of_ranks
from simbyz._arrays.scales import nan_as_inf

# Beyond this many rows the unrolled program takes too long to compile (about 1,500 comparators at
# 128).
MAX_NETWORK_ROWS = 128
# Nor is a network with more outputs of use on a CPU: a comparator is three instructions, LLVM draws
# no more than some 3,000 of a function into the loop that calls it, and then has no vectors there.
MAX_OUTPUTS = 2090
# Up to here ranks that are only summed are sorted all the same: that costs little, and the sums of
# the recorded runs keep their order, hence their bits. Beyond, it would make networks too long.
MAX_ORDERED_ROWS = 64
# Of more rows than a network takes, so many ranks are found sooner than all by a sort.
FEW_RANKS = 4


def comparators(n: int) -> list[tuple[int, int]]:
    """The pairwise sorting network as pairs (i, j), i < j: the smaller value goes to i.

    It is no longer than Batcher's odd-even merge sort, and where only some ranks are needed, more
    of it can be left out: for the median of 51 rows 540 of 816 outputs remain, of Batcher's 620 of
    830.

    The network of the next power of two is cut to n rows: the rows cut off would hold +inf, which
    no comparator moves.

    Reference: Parberry, The pairwise sorting network, Parallel Processing Letters 1992; Codish and
      Zazon-Ivry, Pairwise cardinality networks, LPAR 2010.
    """
    size = 1 << (n - 1).bit_length()
    pairs = []
    # Neighbours are ordered in pairs, then the smaller of two pairs, and the larger, and so on.
    distance = 1
    while distance < size:
        pairs += [(i, i + distance) for i in range(size) if not i & distance]
        distance *= 2
    # Then, from far to near, values meet those a number of distances on, from many to one.
    distance, most = size // 4, 1
    while distance:
        steps = most
        while steps:
            pairs += [
                (i, i + steps * distance) for i in range(size - steps * distance) if i & distance
            ]
            steps //= 2
        distance, most = distance // 2, 2 * most + 1
    return [(i, j) for i, j in pairs if j < n]


def needed_outputs(
    n: int, ranks: Iterable[int], sets: Iterable[Iterable[int]] = ()
) -> list[tuple[int, int, bool, bool]]:
    """The comparators that the given ranks depend on, with which of their two outputs is used.

    Args:
      n: number of rows.
      ranks: those that are needed.
      sets: disjoint sets of ranks; within each, it does not matter which value lands where.
    """
    # What lands in each place is of no use (None), one of a set's (below 0), or its own value.
    needed: list[int | None] = [None] * n
    for rank in ranks:
        needed[rank] = rank
    for number, members in enumerate(sets):
        for rank in members:
            needed[rank] = -1 - number
    kept = []
    for i, j in reversed(comparators(n)):
        low, high = needed[i], needed[j]
        if low != high:
            kept.append((i, j, low is not None, high is not None))
            needed[i], needed[j] = i, j
    return kept[::-1]


def fits_network(n: int, ranks: Iterable[int], sets: Iterable[Iterable[int]] = ()) -> bool:
    """Whether to sort n rows, as far as `sorted_rows` is told to, by a network."""
    if n <= MAX_ORDERED_ROWS or n > MAX_NETWORK_ROWS or jax.default_backend() != "cpu":
        return n <= MAX_NETWORK_ROWS
    return sum(low + high for *_, low, high in needed_outputs(n, ranks, sets)) <= MAX_OUTPUTS


def sorted_rows(
    updates: jax.Array | Sequence[jax.Array],
    ranks: Iterable[int] | None = None,
    sets: Iterable[Iterable[int]] = (),
) -> list[jax.Array]:
    """The rows of a stack sorted in each coordinate, NaN as +inf, as a list of n arrays (d,).

    Args:
      updates: (n, d) stack, or its n rows.
      ranks: the ranks that will be used (all if None); the other entries of the list hold unsorted
        values.
      sets: disjoint sets of these ranks that are only used together: each may come in any order.
    """
    n = len(updates)
    ranks = tuple(range(n) if ranks is None else dict.fromkeys(ranks))
    if n > MAX_NETWORK_ROWS:
        stack = jnp.stack(updates) if isinstance(updates, Sequence) else updates
        if len(ranks) > FEW_RANKS:
            return list(sorted_columns(nan_as_inf(stack)))
        stack = nan_as_inf(stack)
        rows = list(stack)
        for rank, row in zip(ranks, values_of_ranks(stack, ranks), strict=True):
            rows[rank] = row
        return rows
    sets = tuple(map(tuple, sets)) if n > MAX_ORDERED_ROWS else ()
    return _through_network(ranks, sets, [nan_as_inf(row) for row in updates])


@jax.custom_jvp
def sorted_columns(stack: jax.Array) -> jax.Array:
    """Each column of an (n, d) stack without NaN in ascending order.

    By whole numbers of the same order, and along contiguous memory: XLA:CPU takes 5.5 times as long
    to sort the floats where they stand.
    """
    return values_of_keys(jnp.sort(ordered_keys(stack.T), axis=1), stack.dtype).T


@sorted_columns.defjvp
def _columns_with_tangents(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    return jax.jvp(lambda stack: jnp.sort(stack, axis=0), primals, tangents)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _through_network(
    ranks: tuple[int, ...], sets: tuple[tuple[int, ...], ...], rows: list[jax.Array]
) -> list[jax.Array]:
    rows = list(rows)
    for i, j, low, high in needed_outputs(len(rows), ranks, sets):
        a, b = rows[i], rows[j]
        # No NaN is left, so a compare and select is the hardware's own min and max, one instruction
        # each.
        less = a < b
        if low:
            rows[i] = jnp.where(less, a, b)
        if high:
            rows[j] = jnp.where(less, b, a)
    return rows


@_through_network.defjvp
def _with_tangents(
    ranks: tuple[int, ...],
    sets: tuple[tuple[int, ...], ...],
    primals: tuple[list[jax.Array]],
    tangents: tuple[list[jax.Array]],
) -> tuple[list[jax.Array], list[jax.Array]]:
    """A tangent moves with its value: to the value's place in sorted order.

    The network, differentiated, has an output for each row, and XLA recomputes it for each: 30 s to
    compile and 20 s to run at n = 25, d = 7,510. Here every row's place is counted instead, by
    n² comparisons, and each output picks the row whose place is its own.
    """
    (rows,), (moving,) = primals, tangents
    # The barrier keeps whatever made the rows from being computed again for each of them.
    rows = jax.lax.optimization_barrier(rows)
    stack, n = jnp.stack(rows), len(rows)

    def count(j: jax.Array, places: jax.Array) -> jax.Array:
        row = stack[j][None]
        earlier = (j < jnp.arange(n))[:, None]
        return places + ((row < stack) | ((row == stack) & earlier)).astype(jnp.int32)

    nowhere = first_carry(jnp.zeros(stack.shape, jnp.int32), stack)
    places = jax.lax.fori_loop(0, n, count, nowhere)

    def picked(values: list[jax.Array]) -> list[jax.Array]:
        all_values = jnp.stack(values)
        return [
            jnp.sum(jnp.where(places == rank, all_values, 0), axis=0)
            if rank in ranks
            else values[rank]
            for rank in range(n)
        ]

    return picked(rows), picked(moving)
