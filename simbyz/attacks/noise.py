"""Attacks that look at nothing: constants of a broken worker, and noise.

There may be no honest worker: all that `honest`, (h, d) with h >= 0, gives is the shape.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import random_key
from simbyz._arrays.stacking import Byzantine, Honest, PyTree, ravel
from simbyz.attacks.rows import count, factors, repeat


def zero(key: jax.Array, honest: Honest, num_byzantine: int) -> Byzantine:
    """All zeros: workers that do not work."""
    del key
    return _constant(honest, num_byzantine, 0.0)


def nan(key: jax.Array, honest: Honest, num_byzantine: int) -> Byzantine:
    """All NaN: does the rule survive a worker that crashed?"""
    del key
    return _constant(honest, num_byzantine, jnp.nan)


def inf(key: jax.Array, honest: Honest, num_byzantine: int) -> Byzantine:
    """All +infinity: a worker whose numbers overflowed."""
    del key
    return _constant(honest, num_byzantine, jnp.inf)


def gaussian(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    mean: float | jax.Array = 0.0,
    scale: float | jax.Array = 1.0,
) -> Byzantine:
    """mean + scale · (a standard normal draw), coordinate by coordinate, each row its own.

    Args:
      mean, scale: may be traced.

    Reference: Blanchard et al., Machine learning with adversaries, NeurIPS 2017.
    Convention: scale is 1 as in ByzFL, where all rows are equal; Krum's paper takes 200.
    """
    random_key("gaussian", key)
    factors("gaussian", mean=mean, scale=scale)
    stack, unravel = _shaped(honest)
    draws = jax.random.normal(key, (count(num_byzantine), stack.shape[1]), stack.dtype)
    return unravel((mean + scale * draws).astype(stack.dtype))


def random(
    key: jax.Array, honest: Honest, num_byzantine: int, *, scale: float | jax.Array = 1.0
) -> Byzantine:
    """Uniform draws from -scale to scale, coordinate by coordinate, each row its own.

    Args:
      scale: may be traced.

    Convention: FedML's random mode.
    """
    random_key("random", key)
    factors("random", scale=scale)
    stack, unravel = _shaped(honest)
    shape = (count(num_byzantine), stack.shape[1])
    draws = jax.random.uniform(key, shape, stack.dtype, minval=-1, maxval=1)
    return unravel((scale * draws).astype(stack.dtype))


def _constant(honest: PyTree, num_byzantine: int, value: float) -> PyTree:
    stack, unravel = _shaped(honest)
    return unravel(repeat(jnp.full_like(stack[0], value), num_byzantine))


def _shaped(honest: PyTree) -> tuple[jax.Array, Callable[[jax.Array], PyTree]]:
    """`ravel`, of a row of zeros where there is no honest one: only the shape matters."""
    leaves = jax.tree.leaves(honest)
    if leaves and all(jnp.ndim(leaf) > 0 and len(leaf) == 0 for leaf in leaves):
        honest = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape[1:]), leaf.dtype), honest)
    return ravel(honest)
