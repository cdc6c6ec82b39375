"""Attacks by past aggregates alone, which every worker can tell from the models it is sent: none of
what the honest send in this step is used.

They are made for the simulator, which carries their memory.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import needs_at_least, not_negative, number, reached
from simbyz._arrays.scales import length_of, median_of_chosen, own_lengths, unit_where_unusual
from simbyz.attacks.base import StatefulAttack


class Consistent(NamedTuple):
    """Memory of `poisoned_fl`."""

    step: jax.Array  # ()
    signs: jax.Array  # (d,) of the whole run, drawn in the first step with attackers; 0 before
    sent: jax.Array  # (d,) last
    aggregate: jax.Array  # (d,) last
    moved: jax.Array  # (d,) sum of the aggregates since the last look
    factor: jax.Array  # ()


def poisoned_fl(
    factor: float | jax.Array = 8.0,
    *,
    period: int = 50,
    shrink: float | jax.Array = 0.7,
    least: float | jax.Array = 0.5,
) -> StatefulAttack:
    """PoisonedFL: the same signs s in the whole run, so that what one step takes adds up.

    All send c ||G|| v ∘ s, with G the last aggregate, v = |G - b ||G|| / ||b||| of length 1, and b
    what they sent last; s is drawn once, in the first step in which any of them takes part. Every
    `period` steps they look whether the sum of the aggregates since the last look has more of the
    signs s than 99 % of random ones have; if not, c ← shrink · c, unless that is below `least`.

    Args:
      factor: c at first, 0 or more.
      period: at least 1.
      shrink: from 0 to 1.
      least: below this c does not go.

    Returns:
      The attack. In the first step, where nothing is known, they send zeros.

    Raises:
      TypeError: the period is no int.
      ValueError: a period below 1, a number that is negative or NaN or shrinks to more than it was
        (if not traced).

    Reference: Xie, Fang and Gong, Model poisoning attacks to federated learning via multi-round
      consistency, CVPR 2025, as programs have it.
    Convention: there G is the change of the model, here its gradient, the signs being random;
      programs send what they computed in the first step; the 99 % are by the normal approximation.
    """
    period = reached("period", needs_at_least("poisoned_fl", "period", period, 1))
    for name, value in {"factor": factor, "shrink": shrink, "least": least}.items():
        not_negative("poisoned_fl", name, value)
    number("shrink", shrink, "from 0 to 1", lambda one: one <= 1)

    def start(dimension: int) -> Consistent:
        zeros = jnp.zeros(dimension)
        return Consistent(jnp.int32(0), zeros, zeros, zeros, zeros, jnp.asarray(factor, float))

    def send(
        key: jax.Array, honest: jax.Array, num_byzantine: int, state: Consistent
    ) -> tuple[jax.Array, Consistent]:
        def draw() -> jax.Array:
            return jax.random.rademacher(key, state.signs.shape, state.signs.dtype)

        # Not by the number of the step: by chance the first one may be without attackers.
        signs = jax.lax.cond(_drawn(state), lambda: state.signs, draw)
        # Each in a unit in which it has squares.
        unit, unit_sent = unit_where_unusual(state.aggregate), unit_where_unusual(state.sent)
        aggregate, sent = state.aggregate * unit, state.sent * unit_sent
        length, last = jnp.linalg.norm(aggregate), jnp.linalg.norm(sent)
        apart = jnp.abs(aggregate - sent * length / jnp.where(last > 0, last, 1))
        size = jnp.linalg.norm(apart)
        row = state.factor * length * apart / jnp.where(size > 0, size, 1) * signs / unit
        rows = jnp.broadcast_to(row.astype(honest.dtype), (num_byzantine, row.size))
        return rows, state._replace(signs=signs, sent=row)

    def learn(state: Consistent, aggregate: jax.Array) -> Consistent:
        moved, step = state.moved + aggregate, state.step + 1
        count = moved.size
        by_chance = count / 2 + NormalDist().inv_cdf(0.99) * math.sqrt(count) / 2
        failed = _drawn(state) & (jnp.sum(jnp.sign(moved) == state.signs) < by_chance)
        smaller = shrink * state.factor
        look = step % period == 0
        factor = jnp.where(look & failed & (smaller >= least), smaller, state.factor)
        return state._replace(
            step=step,
            aggregate=aggregate.astype(state.aggregate.dtype),
            moved=jnp.where(look, 0, moved),
            factor=factor.astype(state.factor.dtype),
        )

    send.__name__ = "poisoned_fl"
    return StatefulAttack(start, send, learn)


def _drawn(state: Consistent) -> jax.Array:
    return state.signs[0] != 0


def xfed(spread: float | jax.Array = 1.0, *, window: int = 10) -> StatefulAttack:
    """XFED's idea: each turns its own vector around, by a length that past aggregates suggest.

    x_i - (m + spread · M) x_i / ||x_i||, with m the median of the last aggregates' norms and M the
    median of their distances to m: no attacker needs another, nor knows the rule.

    Args:
      spread: 0 or more; may be traced.
      window: aggregates that are remembered, at least 1.

    Returns:
      The attack; x_i is what attacker i computed where Byzantine workers do
      (`Config.byzantine_gradients`), elsewhere honest row i, from the start again where there are
      more. In the first step they send it as it is.

    Raises:
      TypeError: the window is no int.
      ValueError: a window below 1; a spread that is negative or NaN (if not traced).

    Reference: arXiv:2604.09489, of which an abstract alone was read: that the length comes from
      median and median absolute deviation of past updates and the direction is the inverse unit
      vector is said there; how they are put together could not be verified.
    """
    needs_at_least("xfed", "window", window, 1)
    not_negative("xfed", "spread", spread)

    def start(dimension: int) -> tuple[jax.Array, jax.Array]:
        return jnp.int32(0), jnp.zeros(window)

    def send(
        key: jax.Array,
        honest: jax.Array,
        num_byzantine: int,
        state: tuple[jax.Array, jax.Array],
        *,
        own: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        step, norms = state
        rows = honest[jnp.arange(num_byzantine) % len(honest)] if own is None else own
        known = jnp.arange(window) < step
        middle = median_of_chosen(norms, known)
        length = middle + spread * median_of_chosen(jnp.abs(norms - middle), known)
        # Both in units in which their product, and squares, are floats.
        unit = unit_where_unusual(length[None])
        lengths, units = (each[:, None] for each in own_lengths(rows))
        way = jnp.where(step > 0, length * unit, 0) * (rows * units)
        moved = rows - way / jnp.where(lengths > 0, lengths, 1) / unit
        return moved.astype(rows.dtype), state

    def learn(
        state: tuple[jax.Array, jax.Array], aggregate: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        step, norms = state
        return step + 1, norms.at[step % window].set(length_of(aggregate))

    send.__name__ = "xfed"
    return StatefulAttack(start, send, learn)
