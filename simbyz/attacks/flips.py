"""Attacks that turn a vector around: the honest mean, or the one that the attacker computed itself.

Both exist in the field under the same names. Where `own` is given, each attacker turns its own
vector, one of num_byzantine rows like honest: what they would have sent, were they honest. Where it
is None, all turn the honest mean; ValueError: own of another shape.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.checks import integer
from simbyz._arrays.stacking import Byzantine, Honest, PyTree, ravel
from simbyz.attacks.rows import count, factors, repeat


def sign_flipping(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    scale: float | jax.Array = 1.0,
    own: PyTree | None = None,
) -> Byzantine:
    """-scale · mean, or -scale · (one's own vector).

    Args:
      scale: may be traced.

    Reference: Li et al., RSA, AAAI 2019 (one's own, scaled); Allen-Zhu et al., ICLR 2021.
    Convention: ByzFL and krum turn the mean, the programs of EPFL's learning laboratory, Blades and
      FLPoison one's own gradient.
    """
    del key
    factors("sign_flipping", scale=scale)
    return turned(lambda rows: -scale * rows, honest, num_byzantine, own)


def scaled_sign_flipping(key: jax.Array, honest: Honest, num_byzantine: int) -> Byzantine:
    """-(h / num_byzantine) · mean: the plain average of all n rows becomes zero.

    Returns:
      Equal rows.

    Reference: Farhadkhani et al., Robust collaborative learning with linear gradient overhead, ICML
      2023 (its program).
    """
    num_byzantine = count(num_byzantine)
    scale = len(ravel(honest)[0]) / max(num_byzantine, 1)
    return sign_flipping(key, honest, num_byzantine, scale=scale)


def full_gradient_negation(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    scale: float | jax.Array | None = None,
) -> Byzantine:
    """-n · mean, of all n = h + num_byzantine rows: against the plain average, far beyond zero.

    The average of all rows becomes h/n - num_byzantine times the honest mean.

    Args:
      scale: in place of n; may be traced.

    Returns:
      Equal rows.

    Reference: Blanchard et al., Machine learning with adversaries, NeurIPS 2017: the omniscient
      attack, a large multiple of the opposite of the gradient.
    Convention: the package krum's scale is 100, whatever n. It is `sign_flipping` with that scale;
      see `scaled_sign_flipping` for the least that undoes the average.
    """
    num_byzantine = count(num_byzantine)
    if scale is None:
        scale = float(len(ravel(honest)[0]) + num_byzantine)
    return sign_flipping(key, honest, num_byzantine, scale=scale)


def bit_flipping(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    bits: Sequence[int] = (22, 30, 31, 32),
    own: PyTree | None = None,
) -> Byzantine:
    """Some bits of every number turned over, as broken hardware might.

    Args:
      bits: of a number in float32, 1 the least significant, 32 the sign. (32,): the sign alone.

    Returns:
      (num_byzantine, d), or the pytree of it. With the default bits, what is between 1 and 2 grows
      2^64 times, what is between 2 and 4 shrinks as much.

    Raises:
      ValueError: a bit beyond 1 to 32.

    Reference: Xie et al., Generalized Byzantine-tolerant SGD, 2018.
    Convention: numbers of any dtype are rounded to float32 first. Some programs call -(one's own
      gradient) bit flipping: that is `bits=(32,)`, or `sign_flipping`.
    """
    del key
    if not isinstance(bits, Iterable):
        raise TypeError(f"bits must be several ints, such as (32,), got {bits!r}")
    bits = [integer("bits", bit) for bit in bits]
    if not all(1 <= bit <= 32 for bit in bits):
        raise ValueError(f"bits must be from 1 to 32, got {bits}")
    mask = jnp.uint32(sum(1 << (bit - 1) for bit in set(bits)))

    def flip(rows: jax.Array) -> jax.Array:
        words = jax.lax.bitcast_convert_type(rows.astype(jnp.float32), jnp.uint32)
        return jax.lax.bitcast_convert_type(words ^ mask, jnp.float32)

    return turned(flip, honest, num_byzantine, own)


def turned(
    turn: Callable[[jax.Array], jax.Array],
    honest: PyTree,
    num_byzantine: int,
    own: PyTree | None,
) -> PyTree:
    """`turn` of the attackers' own vectors, or of the honest mean, as the pytree that honest is."""
    num_byzantine = count(num_byzantine)
    if own is None or num_byzantine == 0:
        stack, unravel = ravel(honest)
        return unravel(repeat(turn(moments.sure_mean(stack)).astype(stack.dtype), num_byzantine))
    # Without looking at the honest vectors: there may be none.
    rows, unravel = ravel(own)
    d = sum(math.prod(jnp.shape(leaf)[1:]) for leaf in jax.tree.leaves(honest))
    if rows.shape != (num_byzantine, d):
        raise ValueError(
            f"own must hold num_byzantine={num_byzantine} vectors of d={d}, got shape {rows.shape}"
        )
    return unravel(turn(rows).astype(rows.dtype))
