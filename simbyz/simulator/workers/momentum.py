"""Clipping, and momentum at the workers: m_i ← decay · m_i + gain · g_i, of which m_i is sent; or
at the server: decay · G + gain · g_i is, with G the last aggregate.
"""

import jax
import jax.numpy as jnp

from simbyz._arrays.scales import own_lengths
from simbyz._arrays.stacking import PyTree
from simbyz.simulator.config import Momentum, momenta_of
from simbyz.simulator.participation import Round
from simbyz.simulator.workers.sender import Sender, Sent, Take, either, no_memory, zero_vectors


def clip() -> Sender:
    """x · min(1, clip / ||x||), of at most `Hyperparameters.clip` in l2 norm, whatever its size;
    from here on these vectors count as sampled.

    Reference: Pascanu et al., On the difficulty of training recurrent neural networks, ICML 2013.
    """

    def send(take: Take, point: jax.Array, memory: None, round: Round) -> tuple[Sent, None]:
        sent, bound = take(point, round), round.hyperparameters.clip
        lengths = own_lengths(sent.vectors)
        # What is not finite stays so: a run that diverged has to show it.
        units, ratios = lengths.factors(bound)
        clipped = sent.vectors * units[:, None] * ratios[:, None]
        return sent._replace(vectors=clipped, sampled=clipped), memory

    return Sender(no_memory, send)


def momentum() -> Sender:
    """m_i ← decay · m_i + gain · g_i at each worker, of `Hyperparameters.worker`, of which m_i is
    sent; with Nesterov each gradient is taken where its own is to lead.

    Reference: El Mhamdi, Guerraoui and Rouault, Distributed momentum for Byzantine-resilient
      stochastic gradient descent, ICLR 2021.
    """

    def ahead(point: jax.Array, momenta: jax.Array, round: Round) -> jax.Array:
        decay, _ = _of_workers(round)
        return jnp.atleast_2d(point) - round.rate * decay * momenta

    def send(
        take: Take, point: jax.Array, momenta: jax.Array, round: Round
    ) -> tuple[Sent, jax.Array]:
        decay, gain = _of_workers(round)
        # A branch around the gradients: a point for all takes less time than a point for each.
        sent = either(
            round.ahead,
            lambda: take(ahead(point, momenta, round), round),
            lambda: take(point, round),
        )
        momenta = decay * momenta + gain * sent.vectors
        return sent._replace(vectors=momenta), momenta

    return Sender(zero_vectors, send, ahead)


def _of_workers(round: Round) -> Momentum:
    given = momenta_of(round.hyperparameters)
    if "worker" not in given:
        raise ValueError(
            "momentum() takes its numbers from Hyperparameters(worker=...): give "
            "Config(momentum_at=('worker',)), which puts this sender first, in its place, or "
            "average(weight)"
        )
    return given["worker"]


def server_momentum() -> Sender:
    """Momentum at the server, which sends its last aggregate around for everybody to add."""

    def ahead(point: jax.Array, memory: None, round: Round) -> jax.Array:
        decay, _ = momenta_of(round.hyperparameters)["server"]
        return point - jnp.broadcast_to(round.rate * decay * round.aggregate, point.shape)

    def send(take: Take, point: jax.Array, memory: PyTree, round: Round) -> tuple[Sent, PyTree]:
        decay, gain = momenta_of(round.hyperparameters)["server"]
        sent = take(either(round.ahead, lambda: ahead(point, memory, round), lambda: point), round)
        vectors = gain * sent.vectors + decay * round.aggregate[None]
        return sent._replace(vectors=vectors), memory

    return Sender(no_memory, send, ahead)
