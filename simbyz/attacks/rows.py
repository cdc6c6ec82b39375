"""Rows: those that an attack sees, and those that it sends."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import name_of
from simbyz._arrays.checks import at_least, integer, one_number
from simbyz._arrays.chunks import copies
from simbyz._arrays.stacking import PyTree, row_like


def count(num_byzantine: int) -> int:
    """The checked number of attackers present.

    Raises:
      TypeError: not an integer, or traced.
      ValueError: negative.
    """
    return at_least("num_byzantine", num_byzantine, 0)


def repeat(row: jax.Array, num_byzantine: int) -> jax.Array:
    """All attackers send the same row (d,): (num_byzantine, d)."""
    num_byzantine = count(num_byzantine)
    if num_byzantine < 2:
        return jnp.broadcast_to(row, (num_byzantine, *row.shape))
    return copies(row, num_byzantine)


def seen(stack: jax.Array, known: int | None) -> jax.Array:
    """The first `known` honest rows: all that an attacker with partial knowledge sees.

    Raises:
      ValueError: known is below 1 or above the number of honest rows.
    """
    if known is None:
        return stack
    known = integer("known", known)
    if not 1 <= known <= len(stack):
        raise ValueError(f"known must be from 1 to {len(stack)} honest rows, or None, got {known}")
    return stack[:known]


def marked(mask: PyTree | None, honest: PyTree, stack: jax.Array) -> jax.Array:
    """Booleans (d,) of a mask that is (d,) or a pytree like one honest update; none if None.

    Raises:
      ValueError: a mask of another shape.
    """
    if mask is None:
        return jnp.zeros(stack.shape[1], bool)
    given = jax.tree.map(lambda leaf: jnp.asarray(leaf, stack.dtype), mask)
    return row_like(given, honest, stack) != 0


def aggregate_of(
    rule: Callable[..., PyTree], made: PyTree, honest: PyTree, stack: jax.Array
) -> jax.Array:
    """What a rule made of rows, as a row of the stack of the honest ones.

    Raises:
      ValueError: it is not like one honest row.
    """
    try:
        return row_like(made, honest, stack)
    except ValueError as error:
        raise ValueError(f"the rule {name_of(rule)} gave no aggregate: {error}") from error


def factors(attack: str, **given: float | jax.Array) -> None:
    """Checks numbers, by their names, that an attack multiplies what it sends by.

    Raises:
      TypeError: one is no number.
      ValueError: one is several, or NaN (if not traced).
    """
    for name, value in given.items():
        one_number(attack, name, value)
        if not isinstance(value, jax.core.Tracer) and math.isnan(float(value)):
            raise ValueError(f"{attack} needs a number as {name}, got {value}")
