"""Centred clipping, group by group of rows: each is clipped around where the last one left it."""

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import needs_at_least, random_key, require
from simbyz._arrays.chunks import first_carry
from simbyz._arrays.geometry import full_product, squared_norms
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.lengths import (
    given_length,
    lengths_to,
    middle_length,
    safe_sqrt,
    whole_share,
)
from simbyz._arrays.moments import weighted_mean
from simbyz._arrays.stacking import PyTree, Updates, ravel, row_like
from simbyz.aggregators.center import moved_by, moved_center

__all__ = ["sequential_centered_clipping", "sequential_centered_clipping_selection"]


def _sequential_centered_clipping(
    updates: Updates,
    f: int = 0,
    *,
    radius: float | jax.Array | None = None,
    bucket_size: int = 3,
    center: PyTree | None = None,
    key: jax.Array | None = None,
) -> Halves:
    """A centre moved by one bucket of rows after the other, each row clipped around where it is.

    v ← v + (1/|B|) Σ_{i in B} (x_i - v) min(1, radius / ||x_i - v||), for each of l = ⌈n/s⌉ buckets
    B in turn. Each bucket has rows of all kinds: ordered by their cosine with the first centre, row
    number r goes into bucket r mod l. Where no centre is given, the order is random, by the key.

    Args:
      radius: 0 or more, may be traced; the lower median of the rows' distances to the first centre
        if None.
      bucket_size: s, at least 1.
      center: v before the first bucket, (d,) or a pytree like the result; zeros if None. As in
        `centered_clipping`, hand the last result back.
      key: of the random order; that of the workers if None. The simulator gives that of the step.

    Returns:
      The aggregate: the new centre.

    Raises:
      ValueError: n < 2f + 1, bucket_size < 1, a radius that is negative or NaN (if not
        traced), or a center of another shape.
      TypeError: a key that is none.

    Weights: each row's coefficient in the new centre, their sum made 1; equal ones if nothing moves
      it.
    Cost: two passes over the stack a bucket.
    Reference: Ozfatura, Özfatura, Küpçü and Gündüz, Byzantines can also learn from history: fall of
      centered clipping in federated learning, IEEE Transactions on Information Forensics and
      Security, 2024, whose text was not at hand, by its program.
    Convention: the program shuffles the rows of like cosines among the buckets. A row that is not
      finite moves the centre by 0 and still counts in its bucket.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    require("sequential_centered_clipping", n, f, 2, 1)
    bucket_size = needs_at_least("sequential_centered_clipping", "bucket_size", bucket_size, 1)
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    start = jnp.zeros_like(stack[0]) if center is None else row_like(center, updates, stack)
    start = start.astype(dtype)
    own = middle_length(lengths_to(start, stack)) if radius is None else radius
    reach = given_length("radius", "sequential_centered_clipping", own, dtype)
    whole = whole_share(squared_norms(stack).unit)
    buckets = -(-n // bucket_size)
    sizes = -(-(n - np.arange(buckets)) // buckets)
    place = _places(stack, None if center is None else start, key) % buckets

    def move(turn: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        center, weights = carry
        lengths = lengths_to(center, stack)
        kept = jnp.minimum(whole, reach.times(lengths.unit * whole) / lengths.values)
        kept = jnp.where(lengths.finite & (place == turn), kept, 0) / jnp.asarray(sizes)[turn]
        kept = kept.astype(dtype)
        total = jnp.sum(kept) / whole
        moved = moved_by(center, weighted_mean(stack, kept, whole), total)
        return moved, weights * (1 - total) + kept

    first = first_carry((start, jnp.zeros(n, dtype)), stack)
    moved, kept = jax.lax.fori_loop(0, buckets, move, first)
    return moved_center(moved, kept, stack, unravel)


sequential_centered_clipping, sequential_centered_clipping_selection = halves(
    _sequential_centered_clipping
)


def _places(stack: jax.Array, center: jax.Array | None, key: jax.Array | None) -> jax.Array:
    """Each row's place (n,) in the order by cosines with a centre (d,), or by chance."""
    n = len(stack)
    if center is None:
        if key is None:
            return jnp.arange(n)
        random_key("sequential_centered_clipping", key)
        return jax.random.permutation(key, n)
    stack, center = jax.lax.stop_gradient((stack, center))
    lengths = lengths_to(None, stack)
    rows = jnp.where(lengths.finite[:, None], stack, 0).astype(center.dtype) * lengths.unit
    own = safe_sqrt(jnp.sum(jnp.square(center * lengths.unit)))
    along = full_product(rows, center * lengths.unit / own)
    order = jnp.argsort(along / lengths.values, stable=True)
    return jnp.zeros(n, order.dtype).at[order].set(jnp.arange(n, dtype=order.dtype))
