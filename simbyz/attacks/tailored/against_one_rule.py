"""Attacks made against one defence: comparative elimination, the plain mean, centered clipping."""

from typing import Any

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.checks import integer
from simbyz._arrays.scales import unit, unit_of_rows, wide
from simbyz._arrays.stacking import Byzantine, Honest, PyTree, ravel, row_like
from simbyz.attacks.base import StatefulAttack
from simbyz.attacks.fixed import mean_and_deviation, shifted, z_max
from simbyz.attacks.rows import count, factors, repeat

ROP = "relocated_orthogonal_perturbation"


def anti_cge(key: jax.Array, honest: Honest, num_byzantine: int, *, f: int) -> Byzantine:
    """Against the sum of the honest rows that CGE keeps, just short enough to be kept too.

    CGE keeps the n - f rows of least norm. If all attackers stay below the (h - f + 1)-th least
    honest norm, it keeps them all, and beside them the h - f shortest honest rows x_1, ..., where
    num_byzantine = f. Their sum (x_1 counted twice) is turned around and scaled to that norm.

    Args:
      f: the Byzantine rows that CGE is told to tolerate.

    Returns:
      Equal rows. NaN with more attackers than f: one of them is kept anyhow.

    Raises:
      ValueError: f < 0, or h <= f.

    Reference: the released program of Distributed Momentum (El-Mhamdi et al., ICLR 2021), which
      counts the shortest row twice; the rule: Gupta et al., 2021.
    """
    del key
    stack, unravel = ravel(honest)
    num_byzantine, f, h = count(num_byzantine), integer("f", f), len(stack)
    if f < 0 or h <= f:
        raise ValueError(f"anti_cge needs 0 <= f < h, got h={h} honest rows, f={f}")
    if num_byzantine > f or f == 0:
        return unravel(repeat(jnp.full_like(stack[0], jnp.nan), num_byzantine))
    scale = unit_of_rows(stack)
    rows = wide(stack) * scale
    norms = jnp.linalg.norm(rows, axis=1)
    norms = jnp.where(jnp.isfinite(norms), norms, jnp.inf)
    order = jnp.argsort(norms)
    kept = moments.sum_rows([*rows[order[: h - f]], rows[order[0]]])
    # Shorter by more than what rounding adds: to the norms, and to a row of this dtype.
    shorter = max(16 * float(jnp.finfo(rows.dtype).eps), float(jnp.finfo(stack.dtype).eps))
    length = norms[order[h - f]] * (1 - shorter)
    row = -length * unit(kept) / scale
    return unravel(repeat(row.astype(stack.dtype), num_byzantine))


def byz_mean(
    key: jax.Array, honest: Honest, num_byzantine: int, *, factor: float | jax.Array = -1.5
) -> Byzantine:
    """Two groups of attackers, such that the mean of all n rows is what one group sends.

    ⌊num_byzantine / 2⌋ attackers, k say, send b = mean + factor · deviation (`a_little_is_enough`),
    the others ((n - k) b - Σ honest) / (num_byzantine - k).

    Args:
      factor: may be traced.

    Returns:
      (num_byzantine, d), or the pytree of it: the k rows first. A single attacker sends one of the
      second kind.

    Raises:
      ValueError: fewer than two honest rows.

    Reference: Xu et al., SignGuard, ICDCS 2022.
    Convention: factor as in `a_little_is_enough`; SignGuard's authors take -0.3 to -0.5.
    """
    del key
    factors("byz_mean", factor=factor)
    stack, unravel = ravel(honest)
    num_byzantine, h = count(num_byzantine), len(stack)
    mean, deviation = mean_and_deviation("byz_mean", stack)
    first = shifted(mean, factor, deviation)
    few = num_byzantine // 2
    many = max(num_byzantine - few, 1)
    # (n - k) b - h mean, with b = mean + shift: what is common to both never enters the difference.
    second = shifted(first, (h / many) * factor, deviation)
    rows = jnp.concatenate([repeat(first, few), repeat(second, num_byzantine - few)])
    return unravel(rows.astype(stack.dtype))


def relocated_orthogonal_perturbation(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    momentum: PyTree | None = None,
    location: float | jax.Array = 1.0,
    mixing: float | jax.Array = 0.9,
    angle: float | jax.Array = 270.0,
    size: float | jax.Array | None = None,
) -> Byzantine:
    """A step of fixed size from the server's momentum, at an angle to it: unseen by clipping
    around it.

    With m the momentum, μ the honest mean: reference r = mixing · m + (1 - mixing) · μ; p = the
    part of (1, ..., 1) orthogonal to r, made a unit vector; then

        location · m + (1 - location) · μ + size · (p sin(angle) + r / ||r|| cos(angle)).

    Args:
      momentum: (d,), or the pytree of it: what the server clips around, such as the last aggregate.
        None: the honest mean stands for it.
      location, mixing, angle (in degrees), size: may be traced. size: z_max(n, num_byzantine) if
        None.

    Returns:
      Equal rows.

    Raises:
      ValueError: momentum of another shape, or num_byzantine beyond what `z_max` takes.

    Reference: Özfatura et al., Byzantines can also learn from history, IEEE TIFS 2024.
    """
    del key
    stack, unravel = ravel(honest)
    num_byzantine, d = count(num_byzantine), stack.shape[1]
    if num_byzantine == 0:
        return unravel(stack[:0])
    if size is None:
        size = z_max(len(stack) + num_byzantine, num_byzantine)
    # The square of a long row's norm is no float16.
    mean = moments.sure_mean(wide(stack))
    if momentum is None:
        center = mean
    else:
        center = row_like(momentum, honest, stack).astype(mean.dtype)
    factors(ROP, location=location, mixing=mixing, angle=angle, size=size)
    reference = unit(mixing * center + (1 - mixing) * mean)
    ones = jnp.ones(d, reference.dtype)
    orthogonal = unit(ones - jnp.sum(reference) * reference)
    turn = jnp.deg2rad(angle)
    step = orthogonal * jnp.sin(turn) + reference * jnp.cos(turn)
    row = location * center + (1 - location) * mean + size * unit(step)
    return unravel(repeat(row.astype(stack.dtype), num_byzantine))


def relocating() -> StatefulAttack:
    """`relocated_orthogonal_perturbation` for the simulator: around its last aggregate, first zero.

    That is the server's momentum where momentum is kept at the workers.
    """

    def send(
        key: jax.Array,
        honest: jax.Array,
        num_byzantine: int,
        aggregate: jax.Array,
        *,
        own: jax.Array | None = None,
        **options: Any,
    ) -> tuple[jax.Array, jax.Array]:
        del own
        rows = relocated_orthogonal_perturbation(
            key, honest, num_byzantine, momentum=aggregate, **options
        )
        return rows, aggregate

    def learn(last: jax.Array, aggregate: jax.Array) -> jax.Array:
        return aggregate.astype(last.dtype)

    send.__name__ = "relocating"
    return StatefulAttack(start=jnp.zeros, send=send, learn=learn)
