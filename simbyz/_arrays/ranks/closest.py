"""The values closest to a centre, in each coordinate of sorted rows."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from simbyz._arrays.moments import sure_mean_rows
from simbyz._arrays.scales import hidden_part, nan_as_inf, wide


def mean_of_closest(rows: Sequence[jax.Array], center: jax.Array, count: int) -> jax.Array:
    """Coordinate-wise mean of the `count` values closest to a centre, from rows sorted in each
    coordinate; those that are kept in any case, from len(rows) - count to count, may be in any
    order.

    The closest values are neighbours in sorted order: they fill one of the windows [j, j + count).
    Sliding the window from j to j + 1 puts value j + count in the place of value j, which pays
    while the former is closer; that holds for the first few j and then never again. Selecting with
    `where`, rather than adding and subtracting, keeps a value of 1e30 outside the window from
    eating the digits inside it. Distances are compared, and values added, in parts of them that are
    floats beside the largest; that takes no longer, see `sum_of_parts`.
    """
    n, dtype = len(rows), jnp.promote_types(rows[0].dtype, jnp.float32)
    slides, part = n - count, hidden_part(n, dtype)
    middle, kept = wide(center) * part, list(rows[:count])
    for j in range(slides):
        pays = wide(rows[j + count]) * part - middle < middle - wide(rows[j]) * part
        kept[j % count] = jnp.where(pays, rows[j + count], kept[j % count])
    # Those kept anyway are summed first: they need not wait in registers for the others.
    return sure_mean_rows(kept[slides:] + kept[:slides], among=n)


def _pays(high: jax.Array, center: jax.Array, low: jax.Array) -> jax.Array:
    """Whether a value is closer to the centre than a lower one. An infinitely low one never stays,
    though the other's difference may be infinite as well.
    """
    return (high - center < center - low) | (jnp.isneginf(low) & (high < jnp.inf))


def bounds_of_closest(
    rows: Sequence[jax.Array], center: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """The smallest and largest of the `count` values closest to a centre, from sorted rows.

    See `mean_of_closest`: the window starts at the first slide that does not pay.
    """
    low, high = rows[0], rows[count - 1]
    for j in range(len(rows) - count):
        pays = _pays(rows[j + count], center, rows[j])
        low = jnp.where(pays, rows[j + 1], low)
        high = jnp.where(pays, rows[j + count], high)
    return low, high


def shares_between(stack: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """The weights (n,) of the rows (n, d) whose values lie between two bounds (d,)."""
    values = nan_as_inf(stack)
    dtype = jnp.promote_types(stack.dtype, jnp.float32)
    between = ((values >= low[None]) & (values <= high[None])).astype(dtype)
    return jnp.mean(between / jnp.sum(between, axis=0, keepdims=True), axis=1)
