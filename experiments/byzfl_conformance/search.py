"""ByzFL's search for the factor of an optimal attack, as its version 0.0.11 defines it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from simbyz.attacks.searched.line_search import Search


def expand_then_shrink(
    function: Callable[[jax.Array], jax.Array],
    evaluations: int,
    dtype: DTypeLike = jnp.float32,
    *,
    start: float = 0.0,
    delta: float = 10.0,
    ratio: float = 0.8,
) -> Search:
    """Probes at `start`, then at best + step, the step being `delta` at first.

    Every improvement doubles the step, until a probe is none; from then on the step shrinks by
    `ratio` after each probe, an improvement or not. So no probe lies left of the best.

    Args:
      function: scalar -> scalar, of dtype.
      evaluations: how often it is called, at least 1.
      start, delta, ratio: ByzFL's parameters.

    Returns:
      The search; of equal values the earlier probe wins.
    """

    def probe(state, number):
        best, value, step, expanding = state
        x = jnp.where(number == 0, start, best + step).astype(dtype)
        found = function(x)
        better = found > value
        following = jnp.where(expanding & better, 2 * step, ratio * step)
        state = (
            jnp.where(better, x, best),
            jnp.where(better, found, value),
            jnp.where(number == 0, step, following),
            expanding & (better | (number == 0)),
        )
        return state, (x, found)

    first = (
        jnp.array(start, dtype),
        jnp.array(-jnp.inf, dtype),
        jnp.array(delta, dtype),
        jnp.array(True),
    )
    (best, value, *_), (probes, values) = jax.lax.scan(probe, first, jnp.arange(evaluations))
    return Search(best, value, probes, values)
