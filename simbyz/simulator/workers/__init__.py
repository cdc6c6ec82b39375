"""The workers' half of a step: gradients, and the senders that make of them what is sent."""

from simbyz.simulator.workers.momentum import clip, momentum
from simbyz.simulator.workers.sender import Sender, Sent, chain, optax_sender

__all__ = ["Sender", "Sent", "chain", "clip", "momentum", "optax_sender"]
