"""Parts of rules at a node: distances from its own vector, and gossip with other weights."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from simbyz._arrays.checks import NUMBERS, not_negative, require
from simbyz._arrays.geometry import full_product
from simbyz._arrays.halves import Halves
from simbyz._arrays.scales import divided, part_of, wide
from simbyz._arrays.stacking import PyTree

Weight = float | jax.Array
# What rounding may add to a sum of weights, of 1 in all: 8 of 10 neighbours of 1/11 are 8/11.
ROUNDING = 1e-6


class Near(NamedTuple):
    """Neighbours in the order of their distance from the node's own vector."""

    order: jax.Array  # (n - 1,) rows
    lengths: jax.Array  # (n - 1,) sorted, in some unit; +inf where not finite
    weights: jax.Array  # (n - 1,) in that order
    all: jax.Array  # (n,) lengths of all rows in their own order

    @property
    def there(self) -> jax.Array:
        """(n - 1,) which of them are neighbours: one of weight 0 is none."""
        return self.weights > 0

    @property
    def sums(self) -> jax.Array:
        return jnp.cumsum(self.weights)


def of_rows(rule: str, name: str, values: ArrayLike, stack: jax.Array) -> jax.Array:
    """Values of a node's rows, such as their weights, as an array (n,).

    Raises:
      TypeError: they are none.
      ValueError: not one for each row.
    """
    if not isinstance(values, NUMBERS | list | tuple):
        raise TypeError(f"{rule} needs a number for each row as {name}, got {values!r}")
    given = jnp.asarray(values)
    if given.shape != stack.shape[:1]:
        raise ValueError(
            f"{rule} needs {name} of shape {stack.shape[:1]}, one for each row and the node's own "
            f"first, got {given.shape}"
        )
    return given


class Lengths(NamedTuple):
    """||x_j - x_0|| of all rows (n,), multiplied by a unit (); +inf where that is no float."""

    values: jax.Array
    unit: jax.Array


def lengths_of(stack: jax.Array) -> Lengths:
    """The distances of all rows from the first, whatever their size: in a unit of 1, but where one
    may be no float though the rows' differences are.
    """
    apart = jax.lax.stop_gradient(wide(stack) - wide(stack[:1]))
    largest = jnp.max(jnp.abs(apart), axis=1)
    own = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    norms = jnp.linalg.norm(divided(apart, own[:, None]), axis=1)
    part = part_of(stack.shape[1])
    unit = jnp.where(jnp.max(own) > part * jnp.finfo(own.dtype).max, part, 1).astype(own.dtype)
    lengths = unit * own * norms
    return Lengths(jnp.where(jnp.isfinite(lengths), lengths, jnp.inf), unit)


def nearest(lengths: jax.Array, weights: jax.Array) -> Near:
    order = jnp.argsort(lengths[1:])
    # In float16 sums of weights differ by more than `ROUNDING`.
    return Near(order + 1, lengths[1:][order], wide(weights[1:])[order], lengths)


def sorted_by_distance(
    rule: str, stack: jax.Array, f: int, weights: ArrayLike, byzantine_weight: Weight | None
) -> tuple[jax.Array, Near, jax.Array]:
    """The weights (n,) of a node's rows (n, d), its neighbours by their distance, and the weight of
    Byzantine ones tolerated, ().

    Raises:
      TypeError, ValueError: n < 2f + 1, or weights that are not one for each row.
    """
    require(rule, len(stack), f, 2, 1)
    given = of_rows(rule, "weights", weights, stack)
    near = nearest(lengths_of(stack).values, given)
    if byzantine_weight is None:
        return given, near, jnp.sum(wide(jax.lax.top_k(given[1:], f)[0]))
    not_negative("the rule", "byzantine_weight", byzantine_weight)
    return given, near, jnp.asarray(byzantine_weight).astype(wide(given).dtype)


def up_to(near: Near, less: jax.Array) -> jax.Array:
    """Which of the sorted neighbours have, with all nearer ones, at most the weight of all but so
    much.
    """
    return near.sums <= jnp.sum(near.weights) - less + ROUNDING


def root_mean(lengths: jax.Array, weights: jax.Array, bound: jax.Array) -> jax.Array:
    """√((1/b) Σ w_j l_j²) of finite lengths, in their own size; +inf for b = 0."""
    counted = jnp.where(jnp.isfinite(lengths) & (weights > 0), lengths, 0)
    largest = jnp.max(counted, initial=0)
    unit = jnp.where(largest > 0, largest, 1)
    squares = jnp.sum(weights * jnp.square(divided(counted, unit)))
    return jnp.where(bound > 0, unit * jnp.sqrt(squares / jnp.where(bound > 0, bound, 1)), jnp.inf)


def clipped(
    stack: jax.Array,
    weights: jax.Array,
    lengths: jax.Array,
    radius: jax.Array,
    unravel: Callable[[jax.Array], PyTree],
) -> Halves:
    """Gossip with differences of these lengths clipped to a radius."""
    shrunk = radius / jnp.where(lengths > radius, lengths, 1)
    factors = jnp.where(jnp.isfinite(lengths), jnp.where(lengths > radius, shrunk, 1), 0)
    return with_shares(stack, weights * factors, unravel)


def with_shares(
    stack: jax.Array, shares: jax.Array, unravel: Callable[[jax.Array], PyTree]
) -> Halves:
    """Neighbours by their shares (n,), and row 0 by what they leave of 1."""
    return mixed(stack, shares.at[0].set(1 - jnp.sum(shares[1:])), unravel)


def mixed(stack: jax.Array, shares: jax.Array, unravel: Callable[[jax.Array], PyTree]) -> Halves:
    """Rows by their shares (n,), not negative and of sum 1, so that no sum is larger than they."""

    def mean() -> jax.Array:
        rows = jnp.where(shares[:, None] > 0, stack, 0)
        return full_product(shares, rows).astype(stack.dtype)

    return Halves(lambda: unravel(mean()), lambda: jax.lax.stop_gradient(shares))
