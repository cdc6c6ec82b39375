"""Attacks by a fixed shift: multiples of the honest mean and deviation, or a constant.

All send equal rows; their factors may be traced.
"""

from statistics import NormalDist
from typing import Literal

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.checks import integer
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import Byzantine, Honest, PyTree, ravel
from simbyz.attacks.rows import factors, marked, repeat, seen


def a_little_is_enough(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    factor: float | jax.Array = -1.5,
    known: int | None = None,
) -> Byzantine:
    """mean + factor · deviation, coordinate-wise: a shift small enough to hide among the honest.

    The authors choose its size from the numbers of workers: factor=-z_max(n, f).

    Args:
      known: the attackers see the first `known` honest rows alone; all if None. The paper needs
        only some, the attackers' own.

    Returns:
      Rows that are infinite or NaN where the deviation itself is no float, as of rows at ±3e38.

    Raises:
      ValueError: fewer than two rows seen.

    Reference: Baruch et al., A little is enough, NeurIPS 2019.
    Convention: the sample deviation (divisor h - 1), as in the released program of Distributed
      Momentum (ICLR 2021), whose factor is -1.5. With the divisor h the shift is √((h - 1) / h)
      times as long.
    """
    del key
    factors("a_little_is_enough", factor=factor)
    stack, unravel = ravel(honest)
    mean, deviation = mean_and_deviation("a_little_is_enough", seen(stack, known))
    row = shifted(mean, factor, deviation)
    return unravel(repeat(row.astype(stack.dtype), num_byzantine))


def sparse(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    mask: PyTree | None = None,
    factor: float | jax.Array = -1.5,
    scale: float | jax.Array = -5.0,
) -> Byzantine:
    """mean + scale · deviation in a few coordinates, mean + factor · deviation in the others.

    Few enough large shifts hide in a distance over all coordinates, and in their own coordinates
    they lie outside of what a median or a trimmed mean bounds.

    Args:
      mask: booleans (d,), or a pytree like one honest update: where the large shift is, the same
        ones in every step; None: nowhere, which is `a_little_is_enough`.

    Raises:
      ValueError: fewer than two honest rows, or a mask of another shape.

    Reference: arXiv:2404.06230, 2024, whose text was not at hand.
    Convention: the authors find the mask by pruning the network at its start; here it is given. The
      size of the large shift is a choice made here.
    """
    del key
    factors("sparse", factor=factor, scale=scale)
    stack, unravel = ravel(honest)
    mean, deviation = mean_and_deviation("sparse", stack)
    shifts = jnp.where(marked(mask, honest, stack), scale, factor)
    row = shifted(mean, shifts, deviation)
    return unravel(repeat(row.astype(stack.dtype), num_byzantine))


def z_max(n: int, f: int, *, reading: Literal["honest", "all"] = "honest") -> float:
    """The number of deviations that a value may lie off with enough honest ones farther out.

    With s = ⌊n/2⌋ + 1 - f honest workers to win over for a majority, and Φ the standard normal
    distribution: Φ⁻¹((n - f - s) / (n - f)), a share of the honest workers; or, read otherwise,
    Φ⁻¹((n - s) / n), a share of all.

    Args:
      n: workers, Byzantine ones included.
      f: Byzantine workers.
      reading: of which workers the share is taken.

    Returns:
      z; a factor of `a_little_is_enough` is -z. Zero or less where f is too small to hide at all.

    Raises:
      ValueError: f < 0, n < 3, or Byzantine workers enough for a majority, f > n / 2.

    Reference: Baruch et al., A little is enough, NeurIPS 2019, Algorithm 3.
    Convention: implementations that cite the same algorithm divide among both readings. Most take
      the first (the default here). The second allows larger shifts.
    """
    n, f = integer("n", n), integer("f", f)
    supporters = n // 2 + 1 - f
    if n < 3 or f < 0 or supporters < 1:
        raise ValueError(f"z_max needs n >= 3 and 0 <= f <= n / 2, got n={n}, f={f}")
    if reading == "honest":
        return NormalDist().inv_cdf((n - f - supporters) / (n - f))
    if reading == "all":
        return NormalDist().inv_cdf((n - supporters) / n)
    raise ValueError(f'z_max takes the reading "honest" or "all", got {reading!r}')


def fall_of_empires(
    key: jax.Array, honest: Honest, num_byzantine: int, *, factor: float | jax.Array = 1.1
) -> Byzantine:
    """(1 - factor) · mean: against the honest mean's direction as soon as factor > 1.

    Reference: Xie et al., Fall of empires, UAI 2019.
    Convention: the paper sends -ε · mean; a factor of 1.1 here, as in the released program of
      Distributed Momentum (ICLR 2021), is its ε = 0.1: see `inner_product_manipulation`.
    """
    del key
    factors("fall_of_empires", factor=factor)
    stack, unravel = ravel(honest)
    row = (1 - factor) * moments.sure_mean(stack)
    return unravel(repeat(row.astype(stack.dtype), num_byzantine))


def inner_product_manipulation(
    key: jax.Array, honest: Honest, num_byzantine: int, *, tau: float | jax.Array
) -> Byzantine:
    """-tau · mean: the inner product of the plain average with the honest mean, made negative.

    That takes tau > h / num_byzantine; a small tau passes distance-based rules instead. The same as
    `fall_of_empires` with factor = 1 + tau.

    Args:
      tau: the paper's ε.

    Reference: Xie et al., Fall of empires, UAI 2019.
    """
    del key
    factors("inner_product_manipulation", tau=tau)
    stack, unravel = ravel(honest)
    row = -tau * moments.sure_mean(stack)
    return unravel(repeat(row.astype(stack.dtype), num_byzantine))


def hidden_vulnerability(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    factor: float | jax.Array,
    coordinate: int | None = -1,
) -> Byzantine:
    """mean + factor on one coordinate: in high dimension, hardly any distance and much harm.

    Args:
      coordinate: which one, of a pytree the leaves joined in order; None: all of them.

    Raises:
      ValueError: no such coordinate.

    Reference: El-Mhamdi et al., The hidden vulnerability of distributed learning in Byzantium, ICML
      2018.
    """
    del key
    factors("hidden_vulnerability", factor=factor)
    stack, unravel = ravel(honest)
    # In half precision a rounded mean would leave few digits beside a factor of minus its size.
    row, d = moments.sure_mean(wide(stack)), stack.shape[1]
    if coordinate is None:
        row = row + factor
    else:
        coordinate = integer("coordinate", coordinate)
        if not -d <= coordinate < d:
            raise ValueError(f"coordinate must be from {-d} to {d - 1}, or None, got {coordinate}")
        row = row.at[coordinate].add(factor)
    return unravel(repeat(row.astype(stack.dtype), num_byzantine))


def mean_and_deviation(attack: str, stack: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Coordinate-wise mean and sample deviation (d,) of what an attack sees, in at least float32.

    Raises:
      ValueError: a single row has no deviation.
    """
    if len(stack) < 2:
        raise ValueError(f"{attack} needs at least 2 honest rows for a deviation, got 1")
    return moments.mean_and_deviation(stack)


def shifted(mean: jax.Array, factor: float | jax.Array, deviation: jax.Array) -> jax.Array:
    """mean + factor · deviation (d,), a float where it is one though the product is none."""
    row = mean + factor * deviation
    return jnp.where(jnp.isfinite(row), row, (mean / 4 + factor * (deviation / 4)) * 4)
