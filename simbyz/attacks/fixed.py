"""Attacks on gradients that know the honest vectors and not the rule.

Every attack is (key, honest, num_byzantine, *, options) -> the Byzantine rows, all it returns;
`key` is there for the attacks that draw random numbers. `num_byzantine` is how many attackers are
present, which need not be the f that the rule tolerates.
"""

import operator

import jax
import jax.numpy as jnp

from simbyz import moments
from simbyz.stacking import PyTree, ravel


def a_little_is_enough(
    key: jax.Array, honest: PyTree, num_byzantine: int, *, factor: float = -1.5
) -> PyTree:
    """mean + factor · deviation, coordinate-wise: a shift small enough to hide among the honest.

    Args:
      key: not used.
      honest: (h, d), or a pytree of leaves (h, ...): what the honest workers send.
      num_byzantine: number of rows returned.
      factor: may be traced.

    Returns:
      (num_byzantine, d), or the pytree of it; all rows are equal.

    Raises:
      ValueError: fewer than two honest rows, or num_byzantine < 0.

    Reference: Baruch et al., A little is enough, NeurIPS 2019.
    Convention: the sample deviation (divisor h - 1), as in the released program of Distributed
      Momentum (ICLR 2021), whose factor is -1.5.
    """
    del key
    stack, unravel = ravel(honest)
    if len(stack) < 2:
        raise ValueError("a_little_is_enough needs at least 2 honest rows for a deviation, got 1")
    row = moments.mean(stack) + factor * jnp.sqrt(moments.variance(stack))
    return unravel(_repeat(row.astype(stack.dtype), num_byzantine))


def fall_of_empires(
    key: jax.Array, honest: PyTree, num_byzantine: int, *, factor: float = 1.1
) -> PyTree:
    """(1 - factor) · mean: against the honest mean's direction as soon as factor > 1.

    Args:
      key: not used.
      honest: (h, d), or a pytree of leaves (h, ...): what the honest workers send.
      num_byzantine: number of rows returned.
      factor: may be traced.

    Returns:
      (num_byzantine, d), or the pytree of it; all rows are equal.

    Raises:
      ValueError: num_byzantine < 0.

    Reference: Xie et al., Fall of empires, UAI 2019.
    Convention: the paper sends -ε · mean; a factor of 1.1 here, as in the released program of
      Distributed Momentum (ICLR 2021), is its ε = 0.1.
    """
    del key
    stack, unravel = ravel(honest)
    row = (1 - factor) * moments.mean(stack)
    return unravel(_repeat(row.astype(stack.dtype), num_byzantine))


def nan(key: jax.Array, honest: PyTree, num_byzantine: int) -> PyTree:
    """All NaN: does the rule survive a worker that crashed?

    Args:
      key: not used.
      honest: (h, d), or a pytree of leaves (h, ...); gives the shape.
      num_byzantine: number of rows returned.

    Returns:
      (num_byzantine, d), or the pytree of it.

    Raises:
      ValueError: num_byzantine < 0.
    """
    del key
    stack, unravel = ravel(honest)
    return unravel(_repeat(jnp.full_like(stack[0], jnp.nan), num_byzantine))


def _repeat(row: jax.Array, num_byzantine: int) -> jax.Array:
    num_byzantine = operator.index(num_byzantine)
    if num_byzantine < 0:
        raise ValueError(f"num_byzantine must be at least 0, got {num_byzantine}")
    return jnp.broadcast_to(row, (num_byzantine, *row.shape))
