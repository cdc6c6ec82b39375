"""Whom a coordinate-wise rule took: the share of each row in the aggregate, over all coordinates.

In each coordinate a rule here averages the values between two bounds; rows whose value lies between
them share that coordinate, equally (so rows with equal values at a bound share it too). A row's
weight is the mean of its shares over the coordinates: (n,), summing to 1. NaN counts as +inf.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from simbyz._arrays.order_statistics import sorted_rows
from simbyz._arrays.shapes import Updates, Weights
from simbyz._arrays.stacking import ravel, require
from simbyz.aggregators.coordinate import mean_of


def average_selection(updates: Updates, f: int = 0) -> Weights:
    """The weights (n,) of `average`: all 1/n."""
    stack, _ = ravel(updates)
    require("average", len(stack), f, 0, 1)
    return jnp.full(len(stack), 1 / len(stack))


def median_selection(updates: Updates, f: int = 0, *, midpoint: bool = False) -> Weights:
    """The weights (n,) of `median`, with the same arguments."""
    stack, _ = ravel(updates)
    n = len(stack)
    require("median", n, f, 2, 1)
    low = (n - 1) // 2
    high = n // 2 if midpoint else low
    rows = sorted_rows(stack, [low, high])
    return shares_between(stack, rows[low], rows[high])


def trimmed_mean_selection(updates: Updates, f: int) -> Weights:
    """The weights (n,) of `trimmed_mean`, with the same arguments."""
    stack, _ = ravel(updates)
    n = len(stack)
    require("trimmed_mean", n, f, 2, 1)
    rows = sorted_rows(stack, [f, n - f - 1])
    return shares_between(stack, rows[f], rows[n - f - 1])


def phocas_selection(updates: Updates, f: int) -> Weights:
    """The weights (n,) of `phocas`, with the same arguments."""
    stack, _ = ravel(updates)
    n = len(stack)
    require("phocas", n, f, 2, 1)
    rows = sorted_rows(stack)
    return shares_between(stack, *bounds_of_closest(rows, mean_of(rows[f : n - f]), n - f))


def meamed_selection(updates: Updates, f: int, *, midpoint: bool = False) -> Weights:
    """The weights (n,) of `meamed`, with the same arguments."""
    stack, _ = ravel(updates)
    n = len(stack)
    require("meamed", n, f, 2, 1)
    rows = sorted_rows(stack)
    low, high = (n - 1) // 2, n // 2
    center = mean_of([rows[low], rows[high]]) if midpoint and low != high else rows[low]
    return shares_between(stack, *bounds_of_closest(rows, center, n - f))


def bounds_of_closest(
    rows: Sequence[jax.Array], center: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """The smallest and largest of the `count` values closest to a centre, from sorted rows.

    See `mean_of_closest` in coordinate.py: the window starts at the first slide that does not pay.
    """
    low, high = rows[0], rows[count - 1]
    for j in range(len(rows) - count):
        pays = rows[j + count] - center < center - rows[j]
        low = jnp.where(pays, rows[j + 1], low)
        high = jnp.where(pays, rows[j + count], high)
    return low, high


def shares_between(stack: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """The weights (n,) of the rows (n, d) whose values lie between two bounds (d,)."""
    values = jnp.where(jnp.isnan(stack), jnp.inf, stack)
    between = ((values >= low[None]) & (values <= high[None])).astype(jnp.float32)
    return jnp.mean(between / jnp.sum(between, axis=0, keepdims=True), axis=1)
