"""Searches along a line: the factor x >= 0 at which a function is largest, for a number of
evaluations.

All take `function`, scalar -> scalar, of dtype, and evaluate it at one place of the program only,
inside a loop: what is searched is a whole aggregation rule, and every further place would compile
it once more. A value that is NaN counts as -infinity: never better than another; of equal values
the earlier probe wins. `evaluations`, at least 1, or ValueError, is how often it is called.
`at_once` is how many probes of a round are evaluated together by `vmap`: all if None, for a GPU.
One by one takes the least memory, and on a CPU the least time.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from simbyz._arrays.checks import integer
from simbyz._arrays.chunks import first_carry, in_shard_map
from simbyz._arrays.stacking import PyTree

Function = Callable[[jax.Array], jax.Array]
Probed = tuple[jax.Array, jax.Array]  # probes, values


class Search(NamedTuple):
    """The best of a search, and all that it tried, in order."""

    factor: jax.Array  # ()
    value: jax.Array  # () the function there
    probes: jax.Array  # (evaluations,)
    values: jax.Array  # (evaluations,)


def sequential(function: Function, evaluations: int, dtype: DTypeLike = jnp.float32) -> Search:
    """Expand, then contract: one probe after the other.

    The first probe is 0, the next are best + step, step being 1 at first and doubled by every probe
    that is an improvement. The first that is not ends this. From then on a probe is the last one +
    step if the last one lies left of the best, else the last one - step, moved halfway back to the
    last one until it is not negative; the step shrinks by 0.8 before each.

    Reference: the released program of Distributed Momentum (ICLR 2021), step for step.
    """
    evaluations = at_least_one(evaluations)

    def one_step(
        state: tuple[_Walk, jax.Array], i: jax.Array
    ) -> tuple[tuple[_Walk, jax.Array], Probed]:
        walk, value = state
        x = _next_probe(walk)
        new = _no_nan(function(x))
        better = (new > value) | (i == 0)
        return (_after(walk, x, better, i), jnp.where(better, new, value)), (x, new)

    start = _first_carry((_start(dtype), jnp.zeros((), dtype)), function, dtype)
    (walk, value), (probes, values) = jax.lax.scan(one_step, start, jnp.arange(evaluations))
    return Search(walk.best, value, probes, values)


def looking_ahead(
    function: Function,
    evaluations: int,
    dtype: DTypeLike = jnp.float32,
    *,
    at_once: int | None = 1,
) -> Search:
    """The sequential search two steps at a time, never weaker than it, whatever the function.

    A round evaluates four factors: the next probe of `sequential`, the two that may follow it, as
    it turns out better than the best so far or not, and the middle between the best of all that was
    tried and the farther of its two neighbours. Where both that may follow are the same, the middle
    to the nearer neighbour takes the place of one. If nothing lies right of the best x, 3 x + 4
    stands for that neighbour; if nothing lies left of it, 0 does.

    Args:
      evaluations: of the sequential search that it contains. Its own are twice as many, in half as
        many rounds.

    Returns:
      The search. Its value is at least that of `sequential` with as many evaluations, where
      rounding decides no comparison.
    """
    rounds = -(-at_least_one(evaluations) // 2)

    State = tuple[_Walk, jax.Array, jax.Array, jax.Array]

    def one_round(state: State, number: jax.Array) -> tuple[State, None]:
        walk, value, probes, values = state
        i = 2 * number
        first = _next_probe(walk)
        if_better, if_not = (_after(walk, first, jnp.asarray(x), i) for x in (True, False))
        second, other = _next_probe(if_better), _next_probe(if_not)
        # The first probe of all has nothing to be worse than.
        decided = (second == other) | (i == 0)
        wider, narrower = _in_gaps(probes, values)
        new = jnp.stack([first, second, jnp.where(decided, narrower, other), wider])
        found = _no_nan(_evaluated(function, new, at_once))
        better = (found[0] > value) | (i == 0)
        value = jnp.where(better, found[0], value)
        walk = jax.tree.map(lambda a, b: jnp.where(better, a, b), if_better, if_not)
        taken = jnp.where(better | decided, 1, 2)
        better = found[taken] > value
        walk, value = _after(walk, new[taken], better, i + 1), jnp.maximum(found[taken], value)
        probes = jax.lax.dynamic_update_slice(probes, new, (4 * number,))
        values = jax.lax.dynamic_update_slice(values, found, (4 * number,))
        return (walk, value, probes, values), None

    tried = _nothing_tried(4 * rounds, dtype)
    start = _first_carry((_start(dtype), jnp.zeros((), dtype), *tried), function, dtype)
    (_, _, probes, values), _ = jax.lax.scan(one_round, start, jnp.arange(rounds))
    best = jnp.argmax(values)
    return Search(probes[best], values[best], probes, values)


def bracketing(
    function: Function,
    evaluations: int,
    dtype: DTypeLike = jnp.float32,
    *,
    grid: Sequence[float] = (1.0, 2.0, 4.0, 8.0),
    at_once: int | None = 1,
) -> Search:
    """A grid, then as many probes again and again between the two neighbours of the best so far.

    Of a round, one probe lies left of the best and the others right of it, evenly in logarithm: a
    rule that takes the attacker's rows at the best factor and not at its right neighbour has its
    maximum at the edge between them. Where nothing lies right of the best, the probes are twice, 4
    times, 8 times ... the best. The probes of a round do not wait for each other.

    Args:
      evaluations: how often it is called in all, a multiple of the grid's length.
      grid: two or more positive factors, the first round.

    Returns:
      The search. Never worse than any factor of the grid.

    Raises:
      ValueError: a grid that is too short, not positive, or does not divide the evaluations.
    """
    evaluations = at_least_one(evaluations)
    width = len(grid)
    if width < 2 or evaluations % width or min(grid) <= 0:
        raise ValueError(
            "bracketing needs a grid of two or more positive factors whose number divides "
            f"evaluations, got grid={tuple(grid)}, evaluations={evaluations}"
        )
    fractions = jnp.arange(1, width, dtype=dtype) / width
    powers = 2.0 ** jnp.arange(1, width + 1, dtype=dtype)

    def one_round(state: Probed, i: jax.Array) -> tuple[Probed, None]:
        probes, values = state
        best = probes[jnp.argmax(values)]
        left = jnp.max(jnp.where(probes < best, probes, 0))
        right = jnp.min(jnp.where(probes > best, probes, jnp.inf))
        middle = jnp.where(left > 0, jnp.sqrt(left * best), best / 2)
        between = jnp.concatenate([middle[None], best * (right / best) ** fractions])
        new = jnp.where(jnp.isfinite(right), between, best * powers)
        new = jnp.where(i == 0, jnp.asarray(grid, dtype), new)
        found = _no_nan(_evaluated(function, new, at_once))
        return (
            jax.lax.dynamic_update_slice(probes, new, (i * width,)),
            jax.lax.dynamic_update_slice(values, found, (i * width,)),
        ), None

    start = _first_carry(_nothing_tried(evaluations, dtype), function, dtype)
    (probes, values), _ = jax.lax.scan(one_round, start, jnp.arange(evaluations // width))
    best = jnp.argmax(values)
    return Search(probes[best], values[best], probes, values)


class _Walk(NamedTuple):
    """Where the sequential search is; leaves ()."""

    best: jax.Array
    last: jax.Array
    step: jax.Array
    expanding: jax.Array


def _start(dtype: DTypeLike) -> _Walk:
    """Before the first probe, which is 0."""
    zero = jnp.zeros((), dtype)
    return _Walk(zero, zero, zero, jnp.asarray(True))


def _next_probe(walk: _Walk) -> jax.Array:
    best, last, step, expanding = walk
    back = jax.lax.while_loop(lambda x: x < 0, lambda x: (x + last) / 2, last - step)
    return jnp.where(expanding, best + step, jnp.where(last < best, last + step, back))


def _after(walk: _Walk, x: jax.Array, better: jax.Array, i: jax.Array) -> _Walk:
    """After the probe of number i, better than all before it or not."""
    step = walk.step * jnp.where(walk.expanding & better, 2, 0.8)
    return _Walk(
        jnp.where(better, x, walk.best),
        x,
        jnp.where(i == 0, 1, step),
        walk.expanding & better,
    )


def _in_gaps(probes: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The middles between the best probe and its farther and its nearer neighbour."""
    best = jnp.where(jnp.any(values > -jnp.inf), probes[jnp.argmax(values)], 0)
    left = jnp.max(jnp.where(probes < best, probes, 0))
    right = jnp.min(jnp.where(probes > best, probes, jnp.inf))
    right = jnp.where(jnp.isfinite(right), right, 3 * best + 4)
    middles = (left + best) / 2, (best + right) / 2
    is_right = right - best >= best - left
    return jnp.where(is_right, middles[1], middles[0]), jnp.where(is_right, middles[0], middles[1])


def _nothing_tried(evaluations: int, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
    """Probes and values before the first. Such a probe is neither left nor right of another."""
    return jnp.full(evaluations, jnp.nan, dtype), jnp.full(evaluations, -jnp.inf, dtype)


def _first_carry(start: PyTree, function: Function, dtype: DTypeLike) -> PyTree:
    """A search's start, fit for shard_map, where it has to vary over devices as the values will.
    They alone tell so: there the function is written down once more, and XLA drops it.
    """
    if not in_shard_map():
        return start
    return first_carry(start, function(jnp.zeros((), dtype)))


def _evaluated(function: Function, probes: jax.Array, at_once: int | None) -> jax.Array:
    if at_once is None:
        return jax.vmap(function)(probes)
    return jax.lax.map(function, probes, batch_size=at_once)


def _no_nan(values: jax.Array) -> jax.Array:
    return jnp.where(jnp.isnan(values), -jnp.inf, values)


def at_least_one(evaluations: int) -> int:
    evaluations = integer("evaluations", evaluations)
    if evaluations < 1:
        raise ValueError(f"a search needs evaluations >= 1, got {evaluations}")
    return evaluations
