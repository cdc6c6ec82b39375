"""Searches along a line: the factor x >= 0 at which a function is largest, for a number of
evaluations.

Both take `function`, scalar -> scalar, and evaluate it at one place of the program only, inside a
loop: what is searched is a whole aggregation rule, and every further place would compile it once
more. A value that is NaN counts as -infinity: never better than another.
"""

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

Function = Callable[[jax.Array], jax.Array]


class Search(NamedTuple):
    """What a search found, and all that it tried, in order."""

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

    Args:
      function: scalar -> scalar, of dtype.
      evaluations: how often it is called, at least 1.

    Returns:
      The search; of equal values the earlier probe wins.

    Raises:
      ValueError: evaluations < 1.

    Reference: the released program of Distributed Momentum (ICLR 2021), step for step.
    """
    evaluations = _at_least_one(evaluations)

    def probe(state, i: jax.Array):
        best, value, last, step, expanding = state
        back = jax.lax.while_loop(lambda x: x < 0, lambda x: (x + last) / 2, last - step)
        x = jnp.where(expanding, best + step, jnp.where(last < best, last + step, back))
        x = jnp.where(i == 0, 0, x)
        new = function(x)
        new = jnp.where(jnp.isnan(new), -jnp.inf, new)
        better = (new > value) | (i == 0)
        step = jnp.where(i == 0, 1, step * jnp.where(expanding & better, 2, 0.8))
        state = (
            jnp.where(better, x, best),
            jnp.where(better, new, value),
            x,
            step,
            expanding & better,
        )
        return state, (x, new)

    zero = jnp.zeros((), dtype)
    start = (zero, zero, zero, zero, jnp.asarray(True))
    (best, value, *_), (probes, values) = jax.lax.scan(probe, start, jnp.arange(evaluations))
    return Search(best, value, probes, values)


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
      function: scalar -> scalar, of dtype.
      evaluations: how often it is called in all, a multiple of the grid's length.
      grid: two or more positive factors, the first round.
      at_once: probes of a round evaluated together by `vmap`: all if None, for a GPU. One by one
        takes the least memory, and on a CPU the least time.

    Returns:
      The search; of equal values the earlier probe wins. Never worse than any factor of the grid.

    Raises:
      ValueError: a grid that is too short, not positive, or does not divide the evaluations.
    """
    evaluations = _at_least_one(evaluations)
    width = len(grid)
    if width < 2 or evaluations % width or min(grid) <= 0:
        raise ValueError(
            "bracketing needs a grid of two or more positive factors whose number divides "
            f"evaluations, got grid={tuple(grid)}, evaluations={evaluations}"
        )
    fractions = jnp.arange(1, width, dtype=dtype) / width
    powers = 2.0 ** jnp.arange(1, width + 1, dtype=dtype)

    def one_round(state: tuple[jax.Array, jax.Array], i: jax.Array):
        probes, values = state
        best = probes[jnp.argmax(values)]
        left = jnp.max(jnp.where(probes < best, probes, 0))
        right = jnp.min(jnp.where(probes > best, probes, jnp.inf))
        middle = jnp.where(left > 0, jnp.sqrt(left * best), best / 2)
        between = jnp.concatenate([middle[None], best * (right / best) ** fractions])
        new = jnp.where(jnp.isfinite(right), between, best * powers)
        new = jnp.where(i == 0, jnp.asarray(grid, dtype), new)
        if at_once is None:
            found = jax.vmap(function)(new)
        else:
            found = jax.lax.map(function, new, batch_size=at_once)
        found = jnp.where(jnp.isnan(found), -jnp.inf, found)
        return (
            jax.lax.dynamic_update_slice(probes, new, (i * width,)),
            jax.lax.dynamic_update_slice(values, found, (i * width,)),
        ), None

    # A probe that was not tried yet is NaN: neither left nor right of anything.
    start = (jnp.full(evaluations, jnp.nan, dtype), jnp.full(evaluations, -jnp.inf, dtype))
    (probes, values), _ = jax.lax.scan(one_round, start, jnp.arange(evaluations // width))
    best = jnp.argmax(values)
    return Search(probes[best], values[best], probes, values)


def _at_least_one(evaluations: int) -> int:
    evaluations = operator.index(evaluations)
    if evaluations < 1:
        raise ValueError(f"a search needs evaluations >= 1, got {evaluations}")
    return evaluations
