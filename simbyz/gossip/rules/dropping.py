"""Rules that leave out neighbours: the farthest, those at the ends, or those that do worse; and
plain gossip, which leaves out none.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import number, require, require_callable
from simbyz._arrays.geometry import full_product
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.redo import are_finite
from simbyz._arrays.scales import nan_as_inf, wide
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.coordinate import trimmed_mean, trimmed_mean_selection
from simbyz.gossip.rules.shares import (
    ROUNDING,
    Weight,
    lengths_of,
    mixed,
    nearest,
    of_rows,
    sorted_by_distance,
    with_shares,
)

__all__ = [
    "bridge",
    "bridge_selection",
    "gossip",
    "gossip_selection",
    "gts",
    "gts_selection",
    "ios",
    "ios_selection",
    "ubar",
    "ubar_selection",
]


def _gossip(updates: Updates, f: int = 0, *, weights: jax.Array) -> Halves:
    """Plain gossip: Σ w_j x_j, for comparison; one Byzantine neighbour decides the result.

    Raises:
      ValueError: n < f + 1.
    """
    stack, unravel = ravel(updates)
    require("gossip", len(stack), f, 1, 1)
    weights = of_rows("gossip", "weights", weights, stack)
    return mixed(stack, weights, unravel)


gossip, gossip_selection = halves(_gossip)


def _gts(
    updates: Updates, f: int, *, weights: jax.Array, byzantine_weight: Weight | None = None
) -> Halves:
    """GTS (weighted NNA): gossip without the farthest neighbours of weight b, one of them partly.

    The weight that is taken from them goes to the node's own vector.

    Raises:
      ValueError: n < 2f + 1.

    Reference: as `clipped_gossip_plus`. With weights 1 / n these are the n - f nearest rows of
      `simbyz.aggregators.monna`, which averages them alone: Farhadkhani et al., Robust
      collaborative learning with linear gradient overhead, ICML 2023.
    Convention: of the neighbour that is dropped in part, the program of Gaucher et al. keeps the
      part to be dropped.
    """
    stack, unravel = ravel(updates)
    _, near, bound = sorted_by_distance("gts", stack, f, weights, byzantine_weight)
    left = jnp.sum(near.weights) - bound - (near.sums - near.weights)
    # What rounding leaves would let a row of any length in.
    left = jnp.where(left > ROUNDING, left, 0)
    kept = jnp.where(jnp.isfinite(near.lengths), jnp.clip(left, 0, near.weights), 0)
    return with_shares(stack, jnp.zeros(len(stack), kept.dtype).at[near.order].set(kept), unravel)


gts, gts_selection = halves(_gts)


def _ios(updates: Updates, f: int, *, weights: jax.Array) -> Halves:
    """Iterative outlier scissor: f times, the neighbour farthest from the weighted mean of those
    left is cut off; then their weighted mean. The node's own vector stays.

    Raises:
      ValueError: n < 2f + 1.

    Cost: f + 1 passes over the stack.
    Reference: Wu, Chen and Ling, Byzantine-resilient decentralized stochastic optimization with
      robust aggregation rules, IEEE TSP 2023.
    """
    stack, unravel = ravel(updates)
    f = require("ios", len(stack), f, 2, 1)
    weights = of_rows("ios", "weights", weights, stack)
    finite = are_finite(stack)
    rows = jax.lax.stop_gradient(jnp.where(finite[:, None], stack, 0))

    def share(left: jax.Array) -> jax.Array:
        counted = jnp.where(left & finite, weights, 0)
        return counted / jnp.sum(counted)

    def cut(_: int, left: jax.Array) -> jax.Array:
        center = full_product(share(left), rows)
        lengths = lengths_of(jnp.concatenate([center[None], rows])).values[1:]
        lengths = jnp.where(finite, lengths, jnp.inf)
        # A neighbour of weight 0 is none, so that it is not cut off in the place of another.
        farthest = jnp.argmax(jnp.where(left & (weights > 0), lengths, -1).at[0].set(-1))
        return left.at[farthest].set(farthest == 0)  # its own row, where no neighbour is left

    left = jax.lax.fori_loop(0, f, cut, jnp.ones_like(finite))
    return mixed(stack, share(left), unravel)


ios, ios_selection = halves(_ios)


def _bridge(updates: Updates, f: int) -> Halves:
    """BRIDGE-T: the mean of the node's own coordinate and of its neighbours' without the f lowest
    and the f highest.

    Raises:
      ValueError: n < 2f + 2, fewer than 2f + 1 neighbours.

    Weights: the share of coordinates in which a neighbour is kept, over n - 2f; own: 1 / (n - 2f).
    Reference: Fang, Yang and Bajwa, BRIDGE: Byzantine-resilient decentralized gradient descent,
      IEEE TSIPN 2022. Its variants with a median or Krum are the rules of `simbyz.aggregators`.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("bridge", n, f, 2, 2)
    share = (n - 2 * f - 1) / (n - 2 * f)

    def aggregate() -> jax.Array:
        middle = trimmed_mean(wide(stack[1:]), f)  # of half precision it is not rounded
        return share * middle + (1 - share) * stack[0]

    def weights() -> jax.Array:
        return jnp.append(1 - share, share * trimmed_mean_selection(stack[1:], f))

    return Halves(lambda: unravel(aggregate().astype(stack.dtype)), weights)


bridge, bridge_selection = halves(_bridge)


def _ubar(
    updates: Updates,
    f: int,
    *,
    loss_of: Callable[[jax.Array], jax.Array],
    own_share: float | jax.Array = 0.5,
) -> Halves:
    """UBAR: of the nearest n - 1 - f neighbours, the mean of those whose parameters have a loss of
    at most the node's own, or of the best one; then own_share x_0 + (1 - own_share) of that.

    Args:
      updates: parameters, not gradients.
      loss_of: (d,) -> loss on the node's own batch; of local steps on that of the first.
      own_share: α, from 0 to 1; may be traced.

    Raises:
      ValueError: n < 2f + 2: of n - 1 neighbours at most half may be Byzantine; an own_share out of
        its range (if not traced).

    Cost: n losses.
    Reference: Guo et al., Byzantine-resilient decentralized stochastic gradient descent, IEEE
      TCSVT 2022, which keeps ρ times its neighbours in the first stage: here n - 1 - f.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("ubar", n, f, 2, 2)
    require_callable("loss_of of ubar", loss_of, "lambda parameters: loss on the node's batch")
    number("own_share of ubar", own_share, "from 0 to 1", lambda one: 0 <= one <= 1)
    near = nearest(lengths_of(stack).values, jnp.ones(n) / n)
    chosen = near.order[: n - 1 - f]
    candidates = jnp.append(0, chosen)
    losses = jax.lax.map(loss_of, jax.lax.stop_gradient(stack)[candidates])
    losses = nan_as_inf(losses)
    good = (losses[1:] <= losses[0]) & jnp.isfinite(near.lengths[: n - 1 - f])
    best = jnp.arange(len(chosen)) == jnp.argmin(losses[1:])
    good = jnp.where(jnp.any(good), good, best)
    shares = jnp.zeros(n).at[chosen].set((1 - own_share) * good / jnp.sum(good))
    return with_shares(stack, shares, unravel)


ubar, ubar_selection = halves(_ubar)
