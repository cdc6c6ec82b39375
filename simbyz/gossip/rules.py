"""Rules at a node: what a node makes of its own vector and of its neighbours'.

Each is a rule, (updates, f, *, ...) -> aggregate, on the stack that meets at a node: row 0 is its
own, the n - 1 others are its neighbours'. So any rule of `simbyz.aggregators` is one, and those
here work on any stack. What a rule asks for by a keyword-only name it is given by the simulator:

    weights   (n,)  mixing weights, of row 0 the node's own, their sum 1
    honest    (n,)  which rows are honest, for rules that could exist in theory alone
    trusted   (d,)  the node's own row, for `fltrust`
    loss_of         (d,) -> the loss of these parameters on the node's batch of this step

To a rule that asks for weights a neighbour of weight 0 is none: nodes with fewer neighbours may be
filled up with such rows.

`f` is the number of Byzantine neighbours tolerated, and `byzantine_weight` their weight: that of
the f heaviest neighbours if None. Most rules here are plain gossip with other weights,

    x_0 + Σ_j s_j (x_j - x_0)    with  0 <= s_j <= w_j

so that their selections tell each row's weight in the result. A row that is not finite has none,
but in plain `gossip`. Weights carry no derivative: what a row's length does to it is left out.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import not_negative, require
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.moments import finite_rows
from simbyz._arrays.stacking import PyTree, Updates, ravel
from simbyz.aggregators.coordinate import trimmed_mean, trimmed_mean_selection

Weight = float | jax.Array
# What rounding may add to a sum of weights, of 1 in all: 8 of 10 neighbours of 1/11 are 8/11.
ROUNDING = 1e-6


class _Near(NamedTuple):
    """Neighbours in the order of their distance from the node's own vector."""

    order: jax.Array  # (n - 1,) rows
    lengths: jax.Array  # (n - 1,) sorted; +inf where not finite
    weights: jax.Array  # (n - 1,) in that order
    all: jax.Array  # (n,) lengths of all rows in their own order

    @property
    def sums(self) -> jax.Array:
        return jnp.cumsum(self.weights)


def _gossip(updates: Updates, f: int = 0, *, weights: jax.Array) -> Halves:
    """Plain gossip: Σ w_j x_j, for comparison; one Byzantine neighbour decides the result.

    Raises:
      ValueError: n < f + 1.
    """
    stack, unravel = ravel(updates)
    require("gossip", len(stack), f, 1, 1)
    return _mixed(stack, weights, unravel)


gossip, gossip_selection = halves(_gossip)


def _self_centred_clipping(
    updates: Updates, f: int, *, weights: jax.Array, radius: float | jax.Array
) -> Halves:
    """Gossip with neighbours' differences clipped to a radius: x_0 + Σ w_j clip(x_j - x_0, τ).

    Args:
      radius: τ, 0 or more, may be traced.

    Raises:
      ValueError: n < 2f + 1, or a radius that is negative or NaN (if not traced).

    Reference: He, Karimireddy and Jaggi, Byzantine-robust decentralized learning via
      ClippedGossip, 2022.
    """
    stack, unravel = ravel(updates)
    require("self_centred_clipping", len(stack), f, 2, 1)
    not_negative("self_centred_clipping", "radius", radius)
    return _clipped(stack, weights, _lengths(stack), jnp.asarray(radius), unravel)


self_centred_clipping, self_centred_clipping_selection = halves(_self_centred_clipping)


def _oracle_clipping(updates: Updates, f: int, *, weights: jax.Array, honest: jax.Array) -> Halves:
    """Self-centred clipping at the radius of its theorem, which nobody but a simulator knows:

        τ² = (1/δ) Σ_{j honest} w_j ||x_j - x_0||²,   δ = Σ_{j Byzantine} w_j

    Args:
      honest: (n,) bools.

    Raises:
      ValueError: n < 2f + 1.

    Reference: as `self_centred_clipping`.
    Convention: without a Byzantine neighbour nothing is clipped.
    """
    stack, unravel = ravel(updates)
    require("oracle_clipping", len(stack), f, 2, 1)
    lengths, delta = _lengths(stack), jnp.sum(jnp.where(honest, 0, weights))
    radius = _root_mean(lengths, jnp.where(honest, weights, 0), delta)
    return _clipped(stack, weights, lengths, radius, unravel)


oracle_clipping, oracle_clipping_selection = halves(_oracle_clipping)


def _clipped_gossip(
    updates: Updates, f: int, *, weights: jax.Array, byzantine_weight: Weight | None = None
) -> Halves:
    """ClippedGossip (CS-He): self-centred clipping at a radius of the nearer neighbours.

        τ² = (1/b) Σ_{j kept} w_j ||x_j - x_0||²

    b is the Byzantine weight; the farthest neighbours of weight b are not kept, and one that is
    only partly among them is not, either.

    Raises:
      ValueError: n < 2f + 1.

    Reference: as `self_centred_clipping`; CS-He in Gaucher et al., Unified breakdown analysis for
      Byzantine robust gossip, ICML 2025.
    Convention: the program of Gaucher et al. leaves out one neighbour more where weights add up to
      what is kept exactly, as equal weights do but for rounding.
    """
    stack, unravel = ravel(updates)
    require("clipped_gossip", len(stack), f, 2, 1)
    near, bound = _near(_lengths(stack), weights), _bound(weights, f, byzantine_weight)
    kept = jnp.where(_up_to(near, bound), near.weights, 0)
    radius = _root_mean(near.lengths, kept, bound)
    return _clipped(stack, weights, near.all, radius, unravel)


clipped_gossip, clipped_gossip_selection = halves(_clipped_gossip)


def _clipped_gossip_plus(
    updates: Updates, f: int, *, weights: jax.Array, byzantine_weight: Weight | None = None
) -> Halves:
    """CS+: self-centred clipping at the distance of the farthest of the nearest neighbours whose
    weight is at most that of all minus 2b; 0 without any.

    Raises:
      ValueError: n < 2f + 1.

    Reference: Gaucher et al., Unified breakdown analysis for Byzantine robust gossip, ICML 2025.
    """
    stack, unravel = ravel(updates)
    require("clipped_gossip_plus", len(stack), f, 2, 1)
    near, bound = _near(_lengths(stack), weights), _bound(weights, f, byzantine_weight)
    inside = _up_to(near, 2 * bound) & jnp.isfinite(near.lengths)
    radius = jnp.max(jnp.where(inside, near.lengths, 0), initial=0)
    radius = jnp.where(bound > 0, radius, jnp.inf)
    return _clipped(stack, weights, near.all, radius, unravel)


clipped_gossip_plus, clipped_gossip_plus_selection = halves(_clipped_gossip_plus)


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
    require("gts", len(stack), f, 2, 1)
    near, bound = _near(_lengths(stack), weights), _bound(weights, f, byzantine_weight)
    left = jnp.sum(near.weights) - bound - (near.sums - near.weights)
    kept = jnp.where(jnp.isfinite(near.lengths), jnp.clip(left, 0, near.weights), 0)
    return _instead(stack, jnp.zeros_like(weights).at[near.order].set(kept), unravel)


gts, gts_selection = halves(_gts)


def _remove_then_clip(
    updates: Updates, f: int, *, weights: jax.Array, byzantine_weight: Weight | None = None
) -> Halves:
    """RTC: without the f farthest neighbours, self-centred clipping of the others at the radius

        τ² = (1/b) Σ_{j kept} w_j ||x_j - x_0||².

    Raises:
      ValueError: n < 2f + 1.

    Reference: Yang and Ghaderi, Byzantine-robust decentralized learning via remove-then-clip
      aggregation, AAAI 2024.
    Convention: of the paper the abstract was read, and two programs of others for the radius; these
      shrink by τ² / ||·||² what lies beyond τ, here it is projected on the sphere, as the abstract
      says. They remove neighbours while their weight is at most b: with equal weights, f of them.
    """
    stack, unravel = ravel(updates)
    require("remove_then_clip", len(stack), f, 2, 1)
    near, bound = _near(_lengths(stack), weights), _bound(weights, f, byzantine_weight)
    kept = jnp.where(jnp.arange(len(near.order)) < len(near.order) - f, near.weights, 0)
    radius = _root_mean(near.lengths, kept, bound)
    left = jnp.zeros_like(weights).at[near.order].set(kept)
    return _clipped(stack, left, near.all, radius, unravel)


remove_then_clip, remove_then_clip_selection = halves(_remove_then_clip)


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
    finite = finite_rows(stack)
    rows = jax.lax.stop_gradient(jnp.where(finite[:, None], stack, 0))

    def share(left: jax.Array) -> jax.Array:
        counted = jnp.where(left & finite, weights, 0)
        return counted / jnp.sum(counted)

    def cut(_: int, left: jax.Array) -> jax.Array:
        center = jnp.matmul(share(left), rows, precision=jax.lax.Precision.HIGHEST)
        lengths = _lengths(jnp.concatenate([center[None], rows]))[1:]
        lengths = jnp.where(finite, lengths, jnp.inf)
        farthest = jnp.argmax(jnp.where(left, lengths, -1).at[0].set(-1))
        return left.at[farthest].set(False)

    left = jax.lax.fori_loop(0, f, cut, jnp.ones_like(finite))
    return _mixed(stack, share(left), unravel)


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
        return share * trimmed_mean(stack[1:], f) + (1 - share) * stack[0]

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
      loss_of: (d,) -> loss on the node's own batch.
      own_share: α, may be traced.

    Raises:
      ValueError: n < 2f + 2: of n - 1 neighbours at most half may be Byzantine.

    Cost: n losses.
    Reference: Guo et al., Byzantine-resilient decentralized stochastic gradient descent, IEEE
      TCSVT 2022, which keeps ρ times its neighbours in the first stage: here n - 1 - f.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("ubar", n, f, 2, 2)
    near = _near(_lengths(stack), jnp.ones(n) / n)
    chosen = near.order[: n - 1 - f]
    candidates = jnp.append(0, chosen)
    losses = jax.lax.map(loss_of, jax.lax.stop_gradient(stack)[candidates])
    losses = jnp.where(jnp.isnan(losses), jnp.inf, losses)
    good = (losses[1:] <= losses[0]) & jnp.isfinite(near.lengths[: n - 1 - f])
    best = jnp.arange(len(chosen)) == jnp.argmin(losses[1:])
    good = jnp.where(jnp.any(good), good, best)
    shares = jnp.zeros(n).at[chosen].set((1 - own_share) * good / jnp.sum(good))
    return _instead(stack, shares, unravel)


ubar, ubar_selection = halves(_ubar)


GOSSIP_RULES: dict[str, Callable[..., PyTree]] = {
    rule.__name__: rule
    for rule in (
        gossip,
        self_centred_clipping,
        oracle_clipping,
        clipped_gossip,
        clipped_gossip_plus,
        gts,
        remove_then_clip,
        ios,
        bridge,
        ubar,
    )
}


def _lengths(stack: jax.Array) -> jax.Array:
    """||x_j - x_0|| of all rows (n,), whatever their size; +inf where that is no float."""
    apart = jax.lax.stop_gradient(stack - stack[:1])
    largest = jnp.max(jnp.abs(apart), axis=1)
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    lengths = unit * jnp.linalg.norm(apart / unit[:, None], axis=1)
    return jnp.where(jnp.isfinite(lengths), lengths, jnp.inf)


def _near(lengths: jax.Array, weights: jax.Array) -> _Near:
    order = jnp.argsort(lengths[1:])
    return _Near(order + 1, lengths[1:][order], weights[1:][order], lengths)


def _bound(weights: jax.Array, f: int, byzantine_weight: Weight | None) -> jax.Array:
    """The weight of Byzantine neighbours tolerated, ()."""
    if byzantine_weight is not None:
        not_negative("the rule", "byzantine_weight", byzantine_weight)
        return jnp.asarray(byzantine_weight, weights.dtype)
    return jnp.sum(jax.lax.top_k(weights[1:], f)[0])


def _up_to(near: _Near, less: jax.Array) -> jax.Array:
    """Which of the sorted neighbours have, with all nearer ones, at most the weight of all but so
    much.
    """
    return near.sums <= jnp.sum(near.weights) - less + ROUNDING


def _root_mean(lengths: jax.Array, weights: jax.Array, bound: jax.Array) -> jax.Array:
    """√((1/b) Σ w_j l_j²) of finite lengths, in their own size; +inf for b = 0."""
    counted = jnp.where(jnp.isfinite(lengths) & (weights > 0), lengths, 0)
    largest = jnp.max(counted, initial=0)
    unit = jnp.where(largest > 0, largest, 1)
    squares = jnp.sum(weights * jnp.square(counted / unit))
    return jnp.where(bound > 0, unit * jnp.sqrt(squares / jnp.where(bound > 0, bound, 1)), jnp.inf)


def _clipped(
    stack: jax.Array,
    weights: jax.Array,
    lengths: jax.Array,
    radius: jax.Array,
    unravel: Callable[[jax.Array], PyTree],
) -> Halves:
    """Gossip with differences of these lengths clipped to a radius."""
    shrunk = radius / jnp.where(lengths > radius, lengths, 1)
    factors = jnp.where(jnp.isfinite(lengths), jnp.where(lengths > radius, shrunk, 1), 0)
    return _instead(stack, weights * factors, unravel)


def _instead(stack: jax.Array, shares: jax.Array, unravel: Callable[[jax.Array], PyTree]) -> Halves:
    """Neighbours by their shares (n,), and row 0 by what they leave of 1."""
    return _mixed(stack, shares.at[0].set(1 - jnp.sum(shares[1:])), unravel)


def _mixed(stack: jax.Array, shares: jax.Array, unravel: Callable[[jax.Array], PyTree]) -> Halves:
    """Rows by their shares (n,), not negative and of sum 1, so that no sum is larger than they."""

    def mean() -> jax.Array:
        rows = jnp.where(shares[:, None] > 0, stack, 0)
        return jnp.matmul(shares, rows, precision=jax.lax.Precision.HIGHEST).astype(stack.dtype)

    return Halves(lambda: unravel(mean()), lambda: jax.lax.stop_gradient(shares))
