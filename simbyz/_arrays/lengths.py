"""Distances of rows to a centre, or to zero, in a unit of their own and with derivatives."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import not_negative
from simbyz._arrays.geometry import Reached, Squares, squared_distances_to, squared_norms
from simbyz._arrays.scales import middle_of


class Lengths(NamedTuple):
    """Distances (n,) of rows to a centre, in a unit (); 1 where they are not finite."""

    values: jax.Array
    unit: jax.Array
    finite: jax.Array  # (n,) booleans


class Length(NamedTuple):
    """A length () in a unit (): as a number of its own it may be no float."""

    value: jax.Array
    unit: jax.Array | float

    def times(self, unit: jax.Array) -> jax.Array:
        """The length in another unit, the largest float if that is none: by an infinite one what is
        not shortened would have a derivative of 0 · inf.
        """
        length = self.value * jax.lax.stop_gradient(unit / self.unit)
        return jnp.minimum(length, jnp.finfo(length.dtype).max)


def middle_length(lengths: Lengths) -> Length:
    """The lower median of the lengths, those that are not finite being the longest."""
    middle = middle_of(jnp.where(lengths.finite, lengths.values, jnp.inf))
    return Length(middle, lengths.unit)


def whole_share(unit: jax.Array) -> jax.Array:
    """What stands for 1 among shares of rows in a unit: 1, but where they are so long that the
    share of one that is shortened to 1 would be flushed to 0.
    """
    return 1 / jnp.clip(jax.lax.stop_gradient(unit), 2.0 ** -(jnp.finfo(unit.dtype).maxexp // 2), 1)


def given_length(name: str, of: str, value: float | jax.Array | Length, dtype: Any) -> Length:
    """A length that may be given as a number.

    Raises:
      TypeError: it is no number.
      ValueError: it is several, or negative or NaN (if not traced).
    """
    if isinstance(value, Length):
        return value
    not_negative(of, name, value)
    return Length(jnp.asarray(value, dtype), 1.0)


def lengths_to(center: jax.Array | None, stack: jax.Array, known: Reached | None = None) -> Lengths:
    """The rows' distances to a centre, or to zero: then what is known are their norms."""
    squares, unit = _squared_distances_to(center, stack, known)
    finite = jnp.isfinite(squares)
    return Lengths(safe_sqrt(jnp.where(finite, squares, 1)), unit, finite)


@jax.custom_jvp
def _squared_distances_to(
    center: jax.Array | None, stack: jax.Array, known: Reached | None
) -> Squares:
    if center is None:
        return squared_norms(stack) if known is None else known.squares
    return squared_distances_to(center, stack, known)


@_squared_distances_to.defjvp
def _derivative_blanked(
    primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Squares, Squares]:
    """A row that is not finite has derivative 0. To blank it before, for this alone, would make a
    copy of the stack. What was known before, of the same rows, has no part in it.
    """
    (center, stack, _), (center_moves, rows_move, _) = primals, tangents
    squares, unit = _squared_distances_to(*primals)
    apart, moves = stack.astype(squares.dtype), rows_move.astype(squares.dtype)
    apart = apart * unit
    if center is not None:
        # In that unit: the difference of two large floats may be none.
        apart, moves = apart - (center * unit)[None], moves - center_moves[None]
    apart = jnp.where(jnp.isfinite(squares)[:, None], apart, 0)
    change = 2 * jnp.sum(apart * (moves * unit), axis=1)
    return Squares(squares, unit), Squares(change, jnp.zeros_like(unit))


def safe_sqrt(squares: jax.Array) -> jax.Array:
    """The square root, with derivative 0 at 0; at least 1e-19 (in float32), to be divided by."""
    return jnp.sqrt(jnp.maximum(squares, jnp.finfo(squares.dtype).tiny))
