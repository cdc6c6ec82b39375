"""Senders of compressed messages: the vector itself, or the difference to what the server holds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import number
from simbyz._arrays.stacking import PyTree
from simbyz.simulator.config import NOT_NEGATIVE
from simbyz.simulator.keys import FEEDBACK_NOISE, SEND, of_step
from simbyz.simulator.participation import Round
from simbyz.simulator.workers.compressors import Compressor
from simbyz.simulator.workers.sender import (
    Sender,
    Sent,
    Take,
    arriving,
    in_unit,
    no_memory,
    numbers,
)


def _require(compressor: Compressor) -> None:
    if not isinstance(compressor, Compressor):
        raise TypeError(f"compressor must be a Compressor, such as top_k(10), got {compressor!r}")


def _require_contraction(compressor: Compressor, rate: float | jax.Array, d: int) -> None:
    """Whether what feedback leaves out gets smaller, where the rate is not traced."""
    limit = compressor.limit(d)
    if not (limit > 0 if isinstance(rate, jax.core.Tracer) else rate < limit):
        raise ValueError(
            "feedback needs a contraction, so that what is left out gets smaller: of these "
            f"messages of d={d} coordinates at a rate below {limit:.3g}, got rate={rate}; or "
            "rand_k with scaled=False, sign with scaled=True, more levels of quantise"
        )


def _unsent(take: Take, point: jax.Array, round: Round) -> Sent:
    """What is about to be compressed: no message yet, so that nobody forges it."""
    return take(point, round._replace(forge=None, beyond=(*round.beyond, None)))


def _key(purpose: int, round: Round) -> jax.Array:
    """A key of the step, each compressor's own: two in one chain must not draw alike."""
    key = of_step(round.key, purpose, round.turn)
    return jax.random.fold_in(key, len(round.beyond)) if round.beyond else key


def _message(compressor: Compressor, round: Round, sent: Sent, vectors: jax.Array) -> Sent:
    count, d = vectors.shape
    key = _key(SEND, round)
    message = compressor.compress(key, numbers(round, count), vectors)
    return sent._replace(vectors=message, bits=jnp.full(count, float(compressor.bits(d))))


def compress(compressor: Compressor) -> Sender:
    """Each worker sends C(x_i), which the server takes as it comes.

    Raises:
      TypeError: the compressor is none.

    Reference: Alistarh, Grubic, Li, Tomioka and Vojnovic, QSGD, NeurIPS 2017.
    """
    _require(compressor)

    def send(take: Take, point: jax.Array, memory: None, round: Round) -> tuple[Sent, None]:
        sent = _unsent(take, point, round)
        return arriving(_message(compressor, round, sent, sent.vectors), round), memory

    return Sender(no_memory, send)


class Held(NamedTuple):
    """What of each worker is held, by itself and by the server."""

    worker: jax.Array  # (w, d)
    server: jax.Array | None  # (w, d); None where both hold the same


def feedback(
    compressor: Compressor, *, rate: float | jax.Array = 1.0, noise: float | jax.Array | None = None
) -> Sender:
    """Compressed differences with error feedback (EF21):

        c_i = C(x_i - h_i);   h_i ← h_i + rate · c_i   at the worker and at the server

    of which the server aggregates its h_i, zero before the first step. What compression left out of
    one message is in the difference of the next. With `clipped(bound)` as the compressor this is
    Clip21. An attack replaces what the server holds of its rows, in that step; one that is
    `simbyz.attacks.forging` replaces c_i, which stays in what the server holds.

    Args:
      compressor: C, a contraction, or one whose rate is below its `limit`; `rand_k` with
        `scaled=False`, `quantise` with more than √d / 2 levels or a rate below 2 levels / √d.
      rate: in (0, 1].
      noise: standard deviation of Gaussian noise ω in each coordinate of a message: the server
        holds h_i + rate · Σ ω then, the worker's own h_i stays without. None for none.

    Raises:
      TypeError: the compressor is none.
      ValueError: a rate out of (0, 1], or noise below 0 or not finite; when traced, a compressor
        that at this rate makes some differences larger.

    Reference: Richtárik, Sokolov and Fatkhullin, EF21, NeurIPS 2021; Khirirat et al., Clip21, 2023.
      Their h_i starts at the first gradient, or its message; here at 0.
    """
    _require(compressor)
    in_unit("rate", rate)
    if noise is not None:
        number("noise", noise, *NOT_NEGATIVE)

    def init(parameters: jax.Array, workers: int) -> Held:
        zeros = jnp.zeros((workers, parameters.size))
        return Held(zeros, None if noise is None else zeros)

    def send(take: Take, point: jax.Array, memory: PyTree, round: Round) -> tuple[Sent, PyTree]:
        sent = _unsent(take, point, round)
        _require_contraction(compressor, rate, sent.vectors.shape[1])
        sent = _message(compressor, round, sent, sent.vectors - memory.worker)
        if noise is None:
            sent = arriving(sent, round)
            held = memory.worker + rate * sent.vectors
            return sent._replace(vectors=held), Held(held, None)
        worker = memory.worker + rate * sent.vectors
        key = _key(FEEDBACK_NOISE, round)
        drawn = jax.random.normal(key, worker.shape, worker.dtype)
        sent = arriving(sent._replace(vectors=sent.vectors + noise * drawn), round)
        server = memory.server + rate * sent.vectors
        return sent._replace(vectors=server), Held(worker, server)

    return Sender(init, send)
