"""Reputation: how often each worker was found good, as a weight, and a ban at last."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc

from simbyz._arrays.checks import not_negative, number, require
from simbyz._arrays.chunks import first_carry
from simbyz._arrays.geometry import full_product, gram
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.lengths import lengths_to
from simbyz._arrays.scales import median_of_chosen, wide
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.base import StatefulRule, mean_by
from simbyz.aggregators.history.records import Workers, kept, of


class Reputation(NamedTuple):
    """Counts (n,) of steps in which a worker was found good, and bad, from the prior on."""

    good: jax.Array
    bad: jax.Array


def adaptive_federated_averaging(
    *,
    prior: float | jax.Array = 3.0,
    slack: float | jax.Array = 2.0,
    increase: float | jax.Array = 0.5,
    ban: float | jax.Array = 0.95,
) -> StatefulRule:
    """Adaptive federated averaging: a mean by reputation of those who point like the mean.

    Worker i was found good a_i times and bad b_i times, each from `prior` on; p_i = a_i / (a_i +
    b_i). Again and again the mean Σ p_i x_i / Σ p_i of those that are left is taken, and s_i =
    cos(x_i, mean): if the mean of the s_i is below their median, those below median - ξ deviation
    are bad, else those above median + ξ deviation; ξ is `slack` at first, and grows by `increase`
    each time; until nobody is bad. A worker with more than `ban` of Beta(a_i, b_i) below 1/2 is
    left out for good.

        rule = adaptive_federated_averaging()
        make_simulator(config, task, rule, attack, selection=selection_of(rule.aggregate))

    Args:
      prior, slack, increase, ban: may be traced.

    Returns:
      A rule (updates, f, state, workers), whose memory is a `Reputation`. f is checked alone, n >=
      2f + 1. A row that is not finite, or some 1e19 times as long as the middle one, is bad. Zeros
      if all are banned.

    Raises:
      TypeError: one that is no number.
      ValueError: a number that is negative or NaN, prior 0, or ban above 1 (if not traced).

    Cost: one n × n × d matrix product and two passes over the stack a step.
    Reference: Muñoz-González, Co and Lupu, Byzantine-robust federated machine learning through
      adaptive model averaging, 2019. The defaults are from memory of it.
    Convention: all workers hold equally many samples. Deviation: over n, as NumPy's. Programs take
      the score a_i / b_i, or the one after this step.
    """
    for name, value in {"prior": prior, "slack": slack, "increase": increase, "ban": ban}.items():
        not_negative("adaptive_federated_averaging", name, value)
    # Of no steps at all, no share is good.
    number("prior", prior, "above 0", lambda one: one > 0)
    number("ban", ban, "from 0 to 1", lambda one: one <= 1)

    def found(
        stack: jax.Array, state: Reputation, workers: Workers
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Shares (p,) in the mean, who is good, and who is not banned."""
        good, bad = (of(workers, counts) for counts in state)
        allowed = betainc(good, bad, jnp.full_like(good, 0.5)) <= ban
        lengths = lengths_to(None, stack)
        rows = jnp.where(lengths.finite[:, None], stack, 0) * lengths.unit
        products = gram(rows)
        norms = jnp.sqrt(jnp.diagonal(products))
        shares = good / (good + bad)

        def cosines(left: jax.Array) -> jax.Array:
            weights = shares * left
            along = full_product(products, weights)
            length = jnp.sqrt(jnp.maximum(full_product(weights, along), 0))
            both = norms * length
            return along / jnp.where(both > 0, both, 1)

        def again(
            last: tuple[jax.Array, jax.Array, jax.Array],
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            left, width, _ = last
            similar = cosines(left)
            mean = jnp.mean(similar, where=left)
            middle = median_of_chosen(similar, left)
            reach = width * jnp.std(similar, where=left)
            low, high = similar < middle - reach, similar > middle + reach
            found = left & jnp.where(mean < middle, low, high)
            return left & ~found, width + jnp.asarray(increase, width.dtype), jnp.any(found)

        begin = allowed & lengths.finite, jnp.asarray(slack, norms.dtype), jnp.asarray(True)
        begin = first_carry(begin, stack)
        left, _, _ = jax.lax.while_loop(lambda last: last[2] & jnp.any(last[0]), again, begin)
        return shares * left, left, allowed

    def _adaptive_federated_averaging(
        updates: Updates, f: int = 0, *, state: Reputation, workers: Workers = None
    ) -> Halves:
        stack, unravel = ravel(updates)
        require("adaptive_federated_averaging", len(stack), f, 2, 1)
        shares, _, _ = found(jax.lax.stop_gradient(stack), state, workers)
        total = jnp.sum(shares)
        total = jnp.where(total > 0, total, 1)
        return mean_by(shares, total, stack, unravel)

    def learn(
        state: Reputation, stack: jax.Array, aggregate: jax.Array, *, workers: Workers = None
    ) -> Reputation:
        _, left, allowed = found(stack, state, workers)
        good, bad = (of(workers, counts) for counts in state)
        return Reputation(
            kept(workers, state.good, good + left),
            kept(workers, state.bad, bad + (allowed & ~left)),
        )

    def start(zeros: jax.Array, *, n: int) -> Reputation:
        counts = jnp.full(n, prior, wide(zeros).dtype)
        return Reputation(counts, counts)

    return StatefulRule(halves(_adaptive_federated_averaging)[0], start, learn)
