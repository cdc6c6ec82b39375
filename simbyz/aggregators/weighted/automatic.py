"""A geometric median with weights of its own: the rows far from it weigh less, or nothing."""

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import needs_at_least, require
from simbyz._arrays.chunks import first_carry
from simbyz._arrays.geometry import middle_row
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.lengths import Length, Lengths, given_length, lengths_to, middle_length
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.center import pulled_center, weiszfeld

__all__ = ["autogm", "autogm_selection"]


def _autogm(
    updates: Updates,
    f: int,
    *,
    penalty: float | jax.Array | None = None,
    rounds: int = 3,
    iterations: int = 3,
    smoothing: float | jax.Array | None = None,
) -> Halves:
    """The auto-weighted geometric median: centre and weights found in turns.

    Of z and of weights w_i >= 0, Σ w_i = 1, so as to make Σ w_i ||x_i - z|| + (λ/2) Σ w_i² small.
    For a given z it is least at w_i = max(0, η - ||x_i - z||) / λ, with the η that makes their sum
    1; for given weights z is moved by Weiszfeld iterations. It starts from the coordinate-wise
    median.

    Args:
      penalty: λ, 0 or more, may be traced: from rows that weigh alike (large) to those nearest to
        the centre alone (small); n times the lower median of the rows' distances to the first z if
        None, so that the rule has no scale of its own.
      rounds: how often weights are found; at least 1.
      iterations: of Weiszfeld in each round; at least 1.
      smoothing: as in `geometric_median`; a millionth of that lower median if None.

    Returns:
      The aggregate; NaN if no row is finite. The weights w carry no derivative.

    Raises:
      ValueError: n < 2f + 1, rounds or iterations < 1, or a penalty or smoothing that is negative
        or NaN (if not traced).

    Weights: those of the last step, their sum 1.
    Cost: one sorting network, and two passes over the stack an iteration and a round.
    Reference: Li, Ngai and Voigt, Byzantine-robust aggregation in federated learning empowered
      industrial IoT, IEEE Transactions on Industrial Informatics, 2023, whose text was not at hand.
    Convention: Blades, by the same authors, takes λ = n by default, in units of the rows, and up to
      100 rounds of 100 iterations from the mean. What should put its distances in order to find η
      orders the rows' numbers instead (`sorted(enumerate(distance), key=lambda x: x)` in autogm.py
      at 01c18d1), so that it stops at the first row that is farther than η so far.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    require("autogm", n, f, 2, 1)
    rounds = needs_at_least("autogm", "rounds", rounds, 1)
    center = wide(middle_row(stack))
    scale = jax.lax.stop_gradient(middle_length(lengths_to(center, stack)))
    if penalty is None:
        share = scale
    else:
        given = given_length("penalty", "autogm", penalty, center.dtype)
        share = given._replace(value=given.value / n)
    near = scale._replace(value=1e-6 * scale.value) if smoothing is None else smoothing
    first = first_carry((center, jnp.zeros(n, center.dtype)), stack)

    def turn(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        center = carry[0]
        masses = jax.lax.stop_gradient(_water_filled(lengths_to(center, stack), share))
        return weiszfeld("autogm", stack, center, near, iterations, masses)

    center, weights = jax.lax.fori_loop(0, rounds, turn, first)
    return pulled_center(center, weights, stack, unravel)


autogm, autogm_selection = halves(_autogm)


def _water_filled(lengths: Lengths, share: Length) -> jax.Array:
    """The weights (n,) for a penalty of n times the share: 0 for a row that is not finite."""
    n = len(lengths.values)
    # What is added to all distances changes no weight: the least is 0, so that in a sum with 1 it
    # keeps its digits.
    known = jnp.where(lengths.finite, lengths.values, jnp.inf)
    apart = known - jnp.min(jnp.where(lengths.finite, known, jnp.finfo(known.dtype).max))
    heights = apart / jnp.maximum(share.times(lengths.unit), jnp.finfo(known.dtype).tiny) / n
    ordered = jnp.sort(heights)
    levels = (jnp.cumsum(ordered) + 1) / jnp.arange(1, n + 1)
    last = jnp.maximum(jnp.sum(levels > ordered), 1) - 1
    return jnp.where(lengths.finite, jnp.maximum(levels[last] - heights, 0), 0)
