"""Rules that learn over time whom to trust, from examples that the server holds itself.

Rows, the server's parameters and its loss change the weights, now and later, without a derivative.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import floor_of_product, integer, not_negative, number, require
from simbyz._arrays.geometry import full_product
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.moments import weighted_mean
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import PyTree, Updates, ravel, row_like
from simbyz.aggregators.base import StatefulRule, mean_by
from simbyz.aggregators.history.records import Workers, finite_only, kept, of
from simbyz.aggregators.trust.root import Root, loss_at, losses_after, require_root

__all__ = ["bant", "fedlaw", "sparse_capped_simplex"]

SURVIVING = 0.001  # share of equal trust that is taken in where no row lowers the loss


def bant(rate: float | jax.Array = 0.1) -> StatefulRule:
    """A mean by trust, which follows how much of the server's own loss each worker takes away.

    s_i = max(0, L(θ) - L(θ - γ x_i)) over their sum; t_i ← (1 - rate) t_i + rate s_i, from 1 / n
    on; the aggregate is Σ w_i x_i / Σ w_i with w_i = t_i where s_i > 0, else 0. If no row lowers
    the loss, s_i = 1 / n for all, and the rate of that step is 0.001.

        make_simulator(config, task, bant(), attack, selection=selection_of(bant().aggregate))

    Args:
      rate: of the trust, from 0 to 1; may be traced.

    Returns:
      A rule (updates, f, state, root, workers) with a memory of (n,). f is checked alone, n >= f +
      1: the server's examples decide. A row that is not finite takes nothing away, and has weight
      0.

    Raises:
      TypeError: a rate that is no number.
      ValueError: a rate that is not from 0 to 1 (if not traced).

    Cost: n + 1 losses on the server's examples and two passes over the stack a step.
    Reference: arXiv:2505.07614, of whose released program (brain-lab-research/Bant) this is the
      step; the paper was not read.
    Convention: trust is kept for each worker, in that program in a list that grows.
    """
    not_negative("bant", "rate", rate)
    number("bant's rate", rate, "from 0 to 1", lambda one: one <= 1)

    def trust(
        state: jax.Array, stack: jax.Array, workers: Workers, losses: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """The trust (p,) in those present after this step, and their weights, of sum 1 or 0."""
        before, after = jax.lax.stop_gradient(losses)
        finite = finite_only(stack)[1]
        gains = jnp.where(finite, wide(before) - wide(after), 0)
        gains = jnp.where(jnp.isfinite(gains), jnp.maximum(gains, 0), 0)
        total = jnp.sum(gains)
        some = total > 0
        shares = jnp.where(some, gains / jnp.where(some, total, 1), 1 / len(stack))
        step = jnp.where(some, rate, SURVIVING)
        trusted = (1 - step) * of(workers, state) + step * shares
        weights = jnp.where((shares > 0) & finite, trusted, 0)
        whole = jnp.sum(weights)
        return trusted, weights / jnp.where(whole > 0, whole, 1)

    def _bant(
        updates: Updates, f: int = 0, *, state: jax.Array, root: Root, workers: Workers = None
    ) -> Halves:
        stack, unravel = ravel(updates)
        require("bant", len(stack), f, 1, 1)
        losses = losses_after(root, stack, unravel)
        _, weights = trust(state, stack, workers, losses)
        return mean_by(weights, 1.0, stack, unravel)

    def learn(
        state: jax.Array,
        stack: jax.Array,
        aggregate: jax.Array,
        *,
        root: Root,
        workers: Workers = None,
    ) -> jax.Array:
        losses = losses_after(root, stack, lambda row: row)
        trusted, _ = trust(state, stack, workers, losses)
        return kept(workers, state, trusted)

    return StatefulRule(halves(_bant)[0], _equal_trust, learn)


def fedlaw(
    rate: float | jax.Array, *, cap: float | jax.Array = 1.0, nonzero: int | None = None
) -> StatefulRule:
    """A mean by weights that descend the server's own loss, within a sparse capped simplex.

    θ̃ = θ - γ Xᵀw, h = w + rate · γ X ∇L(θ̃), and w ← the point nearest to h with 0 <= w_i <= cap,
    Σ w_i = 1 and at most `nonzero` of them not 0; the aggregate is Xᵀw. From w_i = 1 / n on.

        make_simulator(config, task, fedlaw(1.0), attack)

    Args:
      rate: β of the weights' descent, 0 or more; may be traced.
      cap: t, the most that one weight is, from 1 / nonzero on; may be traced.
      nonzero: s, from 1 to the number of rows; n - f if None.

    Returns:
      A rule (updates, f, state, root, workers) with a memory of (n,). f is checked alone where
      `nonzero` is given, n >= f + 1. A row that is not finite has weight 0. Where some take part
      their weights, of sum 1 among themselves, share out what they had.

    Raises:
      TypeError: nonzero is no int.
      ValueError: a rate or cap that is negative or NaN, or nonzero · cap < 1 (if not traced);
        nonzero not from 1 to n.

    Cost: a gradient on the server's examples and three passes over the stack a step.
    Reference: Parsa et al., Byzantine-robust federated learning with learnable aggregation weights,
      ICLR 2026 (arXiv:2511.03529), as its step is known from a replication.
    Convention: FedLAW asks the workers for losses and gradients at θ̃, of which the Byzantine ones
      lie again: h = w + rate · (γ X X̃ᵀw - losses). Here the loss is that of the server's own
      examples, so that X̃ᵀw is its gradient, and no worker's loss remains.
    """
    not_negative("fedlaw", "rate", rate)
    not_negative("fedlaw", "cap", cap)

    def learned(
        state: jax.Array,
        stack: jax.Array,
        root: Root,
        workers: Workers,
        count: int,
        unravel: Callable[[jax.Array], PyTree] = lambda row: row,
    ) -> jax.Array:
        rows, finite = finite_only(stack)
        old = of(workers, state) * finite
        whole = jnp.sum(old)
        old = jnp.where(whole > 0, old / jnp.where(whole > 0, whole, 1), finite / len(stack))
        require_root(root)
        point = row_like(root.parameters, jax.eval_shape(unravel, stack), stack)
        point = point - root.rate * weighted_mean(rows, old, 1.0)
        gradient = jax.grad(lambda point: loss_at(root, unravel(point)))(point)
        moves = jax.lax.stop_gradient(root.rate * full_product(rows, gradient))
        wanted = jnp.where(finite & jnp.isfinite(moves), old + rate * moves, -jnp.inf)
        return sparse_capped_simplex(wanted, cap, count)

    def size(n: int, f: int) -> int:
        f = require("fedlaw", n, f, 1, 1)
        count = n - f if nonzero is None else integer("nonzero", nonzero)
        if not 1 <= count <= n:
            raise ValueError(f"fedlaw needs 1 <= nonzero <= n, got nonzero={count}, n={n}")
        if isinstance(cap, jax.core.Tracer):
            return count
        # A cap of 1 / 49 for 49 rows is 1 in sum, but for rounding.
        if floor_of_product(np.minimum(np.asarray(cap), 1)[()], count) < 1:
            raise ValueError(
                f"fedlaw needs nonzero · cap >= 1, or no weights add up to 1, got {count} · {cap}"
            )
        return count

    def _fedlaw(
        updates: Updates, f: int, *, state: jax.Array, root: Root, workers: Workers = None
    ) -> Halves:
        stack, unravel = ravel(updates)
        count = size(len(stack), f)
        weights = learned(state, stack, root, workers, count, unravel)
        return mean_by(weights, 1.0, stack, unravel)

    def learn(
        state: jax.Array,
        stack: jax.Array,
        aggregate: jax.Array,
        *,
        f: int,
        root: Root,
        workers: Workers = None,
    ) -> jax.Array:
        weights = learned(state, stack, root, workers, size(len(stack), f))
        old = of(workers, state)
        # Where no row is finite nothing is learned, and what they had is not lost.
        some = jnp.any(weights > 0)
        return kept(workers, state, jnp.where(some, weights * jnp.sum(old), old))

    return StatefulRule(halves(_fedlaw)[0], _equal_trust, learn)


def _equal_trust(zeros: jax.Array, *, n: int) -> jax.Array:
    """In n workers before the first step, (n,)."""
    return jnp.full(n, 1 / n, wide(zeros).dtype)


def sparse_capped_simplex(wanted: jax.Array, cap: float | jax.Array, count: int) -> jax.Array:
    """The point w (n,) nearest to `wanted` with 0 <= w_i <= cap, Σ w_i = 1, at most `count` of them
    not 0; -inf is never wanted, and w is 0 where all are. Of equal ones the earlier come first.

    On the `count` largest, w_i = min(cap, max(0, wanted_i - μ)). Their sum is piecewise linear in
    μ, and bends where one of them reaches 0 or cap.
    """
    chosen = jnp.argsort(-wanted)[:count]
    values = wanted[chosen]
    able = jnp.isfinite(values)
    values = jnp.where(able, values, 0)
    # Fewer than 1 / cap that are able share alike, and none is above 1.
    cap = jnp.clip(cap, 1 / jnp.maximum(jnp.sum(able), 1), 1)
    # Of two that are farther apart than cap, one is 0 or the other cap at any level: so they are
    # moved together, for beside 1e8 a cap is lost to rounding.
    gaps = jnp.clip(values[:-1] - values[1:], 0, cap)
    values = -jnp.append(jnp.zeros(1, values.dtype), jnp.cumsum(gaps))

    def shares(level: jax.Array) -> jax.Array:
        return jnp.where(able, jnp.clip(values - level, 0, cap), 0)

    bends = jnp.sort(jnp.where(jnp.tile(able, 2), jnp.concatenate([values, values - cap]), jnp.inf))
    sums = jnp.sum(jax.vmap(shares)(bends), axis=1)
    # Between the last bend whose sum is at least 1 and the next one, the sum is a line.
    at = jnp.maximum(jnp.sum(sums >= 1) - 1, 0)
    first, second = bends[at], bends[jnp.minimum(at + 1, len(bends) - 1)]
    fall = sums[at] - sums[jnp.minimum(at + 1, len(bends) - 1)]
    level = first + (sums[at] - 1) / jnp.where(fall > 0, fall, 1) * (second - first)
    level = jnp.where(jnp.any(able), level, 0)
    return jnp.zeros_like(wanted).at[chosen].set(shares(level))
