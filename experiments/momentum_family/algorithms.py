"""The algorithms by name: where momentum is kept, what is sent, and what the server makes of it."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import optax

from simbyz.simulator.config import Place
from simbyz.simulator.workers import (
    byz_clip21_sgd2m,
    byz_dm21,
    byz_ef21_sgdm,
    byz_vr_dm21,
    delayed_momentum,
    normalised,
    rosdhb,
    top_k,
)
from simbyz.simulator.workers.sender import Sender

AlgorithmName = Literal[
    "worker_momentum",
    "sgd",
    "update_momentum",
    "storm",
    "ef21_sgdm",
    "dm21",
    "vr_dm21",
    "rosdhb",
    "clip21_sgd2m",
    "delayed_momentum",
    "nsgdm",
]


class Numbers(NamedTuple):
    """What the algorithms share."""

    weight: float  # of a new gradient in an average, 1 - μ
    k: int  # coordinates that a compressed message keeps; 0 where nothing is compressed
    bound: float  # on the length of a clipped difference; 0 where nothing is clipped
    share: float  # of the workers that take part in a step


class Algorithm(NamedTuple):
    """place: of the simulator's own momentum. gradients: that a worker takes in a step. delayed:
    absent workers' last vectors are aggregated, too, instead of the participants' alone. uses:
    which of the numbers act in it, beside the weight and the share.
    """

    place: Place | None = None
    senders: Callable[[Numbers], list[Sender]] = lambda numbers: []
    gradients: int = 1
    variance_reduction: bool = False
    delayed: bool = False
    optimizer: optax.GradientTransformation | None = None
    uses: Literal["kept", "bound", ""] = ""


UNIT = 0.2  # length of a normalised step, times the learning rate

ALGORITHMS: dict[str, Algorithm] = {
    "worker_momentum": Algorithm("worker"),
    "sgd": Algorithm(),
    "update_momentum": Algorithm("update"),
    "storm": Algorithm("worker", gradients=2, variance_reduction=True),
    "ef21_sgdm": Algorithm(senders=lambda it: [byz_ef21_sgdm(it.weight, top_k(it.k))], uses="kept"),
    "dm21": Algorithm(senders=lambda it: [byz_dm21(it.weight, top_k(it.k))], uses="kept"),
    "vr_dm21": Algorithm(
        senders=lambda it: [byz_vr_dm21(it.weight, top_k(it.k))], gradients=2, uses="kept"
    ),
    "rosdhb": Algorithm(senders=lambda it: [rosdhb(it.k, 1 - it.weight)], uses="kept"),
    "clip21_sgd2m": Algorithm(
        senders=lambda it: [byz_clip21_sgd2m(it.weight, 1.0, it.bound)], uses="bound"
    ),
    "delayed_momentum": Algorithm(
        senders=lambda it: [delayed_momentum(it.weight, it.share)], delayed=True
    ),
    # A unit vector is longer than a gradient near the end.
    "nsgdm": Algorithm("worker", optimizer=optax.chain(normalised(), optax.scale(UNIT))),
}


def refusal(algorithm: str, participation: float) -> str | None:
    """Why an algorithm is not run where this share of the workers takes part; None where it is."""
    if ALGORITHMS[algorithm].delayed and participation == 1:
        return "nobody is absent: it is worker_momentum"
    return None
