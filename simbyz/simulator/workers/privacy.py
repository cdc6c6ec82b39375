"""Differential privacy: Gaussian noise at each worker, and the ε that it comes to.

A worker's clipped gradient moves by at most twice the clip when an example of its batch is left
out, as the clip bounds the batch's gradient as a whole.
"""

import math

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import at_least, integer, number
from simbyz._arrays.stacking import PyTree
from simbyz.simulator.config import NOT_NEGATIVE
from simbyz.simulator.keys import NOISE, of_step
from simbyz.simulator.participation import Round
from simbyz.simulator.workers.sender import Sender, Sent, Take, no_memory

ORDERS = (*range(2, 64), *range(64, 513, 16))


def private_noise(multiplier: float | jax.Array) -> Sender:
    """Gaussian noise of deviation multiplier · 2 `Hyperparameters.clip` in each coordinate. It
    stands directly after clipping: with `Config.momentum_at` () and first among the senders.

        x_i + multiplier · 2 clip · N(0, 1)

    Without a clip nothing bounds what an example does, and the noise is infinite, but for 0.

    Raises:
      ValueError: a multiplier below 0 or not finite; when traced, something between it and the
        clip, or two noisy gradients in a step, as `corrected_average` takes, with one noise for
        both: it would promise less than `epsilon` says.

    Reference: Abadi et al., Deep learning with differential privacy, CCS 2016, who clip each
      example's gradient, not the batch's.
    """
    number("multiplier", multiplier, *NOT_NEGATIVE)

    def send(take: Take, point: jax.Array, memory: PyTree, round: Round) -> tuple[Sent, PyTree]:
        sent = take(point, round)
        if sent.vectors is not sent.sampled:
            raise ValueError(
                "private_noise is of clipped gradients, directly after the clip: first of the "
                "senders, with momentum_at=(), one local step and no variance_reduction"
            )
        if round.twice is not None:
            raise ValueError(
                "private_noise is of one gradient a step, of which epsilon tells; a sender that "
                "takes two of a batch, as corrected_average, has one noise for both: take average"
            )
        key = of_step(round.key, NOISE, round.turn)
        drawn = jax.random.normal(key, sent.vectors.shape, sent.vectors.dtype)
        deviation = multiplier * 2 * jnp.asarray(round.hyperparameters.clip)
        noise = jnp.where(multiplier == 0, 0.0, deviation * drawn)
        return sent._replace(vectors=sent.vectors + noise), memory

    return Sender(no_memory, send)


def epsilon(
    *, multiplier: float, batch_size: int, examples: int, steps: int, delta: float
) -> float:
    """ε of (ε, δ)-privacy of what a worker sends in so many steps.

        A(α) = Σ_k C(α, k) (1-q)^(α-k) q^k exp((k² - k) / (2 multiplier²)),   q = batch / examples
        ε = min over α of steps · log A(α) / (α-1) + log(1 - 1/α) - log(δ α) / (α-1)

    by Rényi divergences of integer orders α. Each example is in a batch by a coin of its own here
    (Poisson sampling): a run that goes through its examples in an order, or draws batches of one
    size, is near to that and no more; `batch_size=examples` needs no such assumption.

    Args:
      multiplier: deviation of the noise over the most that one example moves the vector.
      batch_size, examples: of a worker, 1 <= batch_size <= examples.
      steps: at least 0.
      delta: in (0, 1).

    Returns:
      ε, inf without noise.

    Raises:
      ValueError: an argument out of its range.

    Reference: Mironov, Talwar and Zhang, Rényi differential privacy of the sampled Gaussian
      mechanism, 2019, for A; Canonne, Kamath and Steinke, The discrete Gaussian for differential
      privacy, NeurIPS 2020, proposition 12, for ε.
    """
    if not 1 <= integer("batch_size", batch_size) <= integer("examples", examples):
        raise ValueError(f"1 <= batch_size <= examples is needed, got {batch_size}, {examples}")
    at_least("steps", steps, 0)
    number("delta", delta, "in (0, 1)", lambda one: 0 < one < 1)
    number("multiplier", multiplier, *NOT_NEGATIVE)
    if steps == 0:
        return 0.0
    variance = float(multiplier) * float(multiplier)  # `** 2` of 1e200 is an error, this is inf
    if variance == 0:
        return math.inf

    def at(order: int) -> float:
        spent = steps * _log_moment(order, batch_size / examples, variance) / (order - 1)
        return spent + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)

    return max(0.0, min(at(order) for order in ORDERS))


def _log_moment(order: int, share: float, variance: float) -> float:
    """log A(order), its sum taken from the logarithms of its terms; variance: multiplier²."""
    if share == 1:
        return (order**2 - order) / (2 * variance)
    logs = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-share)
        + k * math.log(share)
        + (k * k - k) / (2 * variance)
        for k in range(order + 1)
    ]
    most = max(logs)
    if most == math.inf:  # next to no noise: inf - inf below would be no number
        return math.inf
    return most + math.log(sum(math.exp(log - most) for log in logs))
