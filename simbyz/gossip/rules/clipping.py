"""Rules that clip neighbours' differences from the node's own vector to a radius."""

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import not_negative, require
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.stacking import Updates, ravel
from simbyz.gossip.rules.shares import (
    Weight,
    clipped,
    lengths_of,
    of_rows,
    root_mean,
    sorted_by_distance,
    up_to,
)

__all__ = [
    "clipped_gossip",
    "clipped_gossip_plus",
    "clipped_gossip_plus_selection",
    "clipped_gossip_selection",
    "oracle_clipping",
    "oracle_clipping_selection",
    "remove_then_clip",
    "remove_then_clip_selection",
    "self_centred_clipping",
    "self_centred_clipping_selection",
]


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
    weights = of_rows("self_centred_clipping", "weights", weights, stack)
    not_negative("self_centred_clipping", "radius", radius)
    lengths = lengths_of(stack)
    return clipped(stack, weights, lengths.values, radius * lengths.unit, unravel)


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
    weights = of_rows("oracle_clipping", "weights", weights, stack)
    honest = of_rows("oracle_clipping", "honest", honest, stack)
    lengths, delta = lengths_of(stack).values, jnp.sum(jnp.where(honest, 0, weights))
    radius = root_mean(lengths, jnp.where(honest, weights, 0), delta)
    return clipped(stack, weights, lengths, radius, unravel)


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
    weights, near, bound = sorted_by_distance("clipped_gossip", stack, f, weights, byzantine_weight)
    kept = jnp.where(up_to(near, bound), near.weights, 0)
    radius = root_mean(near.lengths, kept, bound)
    return clipped(stack, weights, near.all, radius, unravel)


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
    weights, near, bound = sorted_by_distance(
        "clipped_gossip_plus", stack, f, weights, byzantine_weight
    )
    inside = up_to(near, 2 * bound) & jnp.isfinite(near.lengths) & near.there
    radius = jnp.max(jnp.where(inside, near.lengths, 0), initial=0)
    radius = jnp.where(bound > 0, radius, jnp.inf)
    return clipped(stack, weights, near.all, radius, unravel)


clipped_gossip_plus, clipped_gossip_plus_selection = halves(_clipped_gossip_plus)


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
    weights, near, bound = sorted_by_distance(
        "remove_then_clip", stack, f, weights, byzantine_weight
    )
    place = jnp.cumsum(near.there)  # among those that are there, from 1
    kept = jnp.where(place <= jnp.sum(near.there) - f, near.weights, 0)
    radius = root_mean(near.lengths, kept, bound)
    left = jnp.zeros(len(stack), kept.dtype).at[near.order].set(kept)
    return clipped(stack, left, near.all, radius, unravel)


remove_then_clip, remove_then_clip_selection = halves(_remove_then_clip)
