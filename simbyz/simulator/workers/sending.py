"""What workers make of their gradients before anything is sent: clipping, then their momentum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz.simulator.config import Hyperparameters


class Sent(NamedTuple):
    """Of w workers that compute."""

    sampled: jax.Array  # (w, d) clipped gradients
    vectors: jax.Array  # (w, d) with momentum at the workers, if it is kept
    momenta: jax.Array | None  # (w, d) to go on with


def send(hyperparameters: Hyperparameters, gradients: jax.Array, momenta: jax.Array | None) -> Sent:
    """From regularised gradients (w, d), and the workers' momenta (w, d) if they keep any."""
    norms = jnp.sqrt(jnp.sum(jnp.square(gradients), axis=1, keepdims=True))
    sampled = gradients * jnp.where(norms > hyperparameters.clip, hyperparameters.clip / norms, 1)
    if momenta is None:
        return Sent(sampled, sampled, None)
    worker = hyperparameters.worker
    momenta = worker.decay * momenta + worker.gain * sampled
    return Sent(sampled, momenta, momenta)
