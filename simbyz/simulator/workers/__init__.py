"""The workers' half of a step: gradients, and the senders that make of them what is sent."""

from simbyz.simulator.workers.averages import average, corrected_average
from simbyz.simulator.workers.compression import compress, feedback
from simbyz.simulator.workers.compressors import (
    Compressor,
    clipped,
    quantise,
    rand_k,
    sign,
    top_k,
)
from simbyz.simulator.workers.momentum import clip, momentum
from simbyz.simulator.workers.presence import by_chance, every, late, until, when_present
from simbyz.simulator.workers.privacy import epsilon, private_noise
from simbyz.simulator.workers.recipes import (
    byz_clip21_sgd2m,
    byz_dm21,
    byz_ef21_sgdm,
    byz_vr_dm21,
    delayed_momentum,
    normalised,
    rosdhb,
)
from simbyz.simulator.workers.sender import Sender, Sent, chain, optax_sender

__all__ = [
    "Compressor",
    "Sender",
    "Sent",
    "average",
    "by_chance",
    "byz_clip21_sgd2m",
    "byz_dm21",
    "byz_ef21_sgdm",
    "byz_vr_dm21",
    "chain",
    "clip",
    "clipped",
    "compress",
    "corrected_average",
    "delayed_momentum",
    "epsilon",
    "every",
    "feedback",
    "late",
    "momentum",
    "normalised",
    "optax_sender",
    "private_noise",
    "quantise",
    "rand_k",
    "rosdhb",
    "sign",
    "top_k",
    "until",
    "when_present",
]
