"""Pictures of senders: what the server holds of one worker, step by step, beside its gradients."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from simbyz.simulator import Hyperparameters, Momentum, workers
from simbyz.simulator.participation import Identities, Participants, Round
from simbyz.simulator.workers import Sender, Sent

D, STEPS, JUMP, RATE, NOISE = 8, 60, 30, 0.15, 0.3
KEY = jax.random.key(3)
NUMBERS = Hyperparameters(RATE, worker=Momentum(0.8, 0.2), clip=2.0)
COMPRESSORS = {
    "top_k": workers.top_k(2),
    "rand_k": workers.rand_k(2),
    "quantise": workers.quantise(2),
    "sign": workers.sign(),
    "clipped": workers.clipped(1.5),
}
SENDERS: dict[str, Sender] = {
    "clip": workers.clip(),
    "momentum": workers.momentum(),
    "average": workers.average(0.2),
    "corrected_average": workers.corrected_average(0.2),
    "compress": workers.compress(workers.top_k(2)),
    "feedback": workers.feedback(workers.top_k(2)),
    "when_present": workers.when_present(workers.by_chance(0.3)),
    "late": workers.late(5),
    "private_noise": workers.chain(workers.clip(), workers.private_noise(0.05)),
}
ALGORITHMS = {
    "byz_ef21_sgdm": workers.byz_ef21_sgdm(0.2, workers.top_k(2)),
    "byz_dm21": workers.byz_dm21(0.2, workers.top_k(2)),
    "byz_vr_dm21": workers.byz_vr_dm21(0.2, workers.top_k(2)),
    "rosdhb": workers.rosdhb(2, 0.8),
    "byz_clip21_sgd2m": workers.byz_clip21_sgd2m(0.3, 0.8, 0.5, 0.05),
    "delayed_momentum": workers.delayed_momentum(0.3, 0.3),
}
SHOWN = (
    SENDERS
    | ALGORITHMS
    | {name: workers.compress(compressor) for name, compressor in COMPRESSORS.items()}
)


def held_by_the_server(sender: Sender) -> tuple[jax.Array, jax.Array]:
    """Gradients and held vectors (steps, d) of one worker, which goes along what is held. What it
    looks for jumps half way.
    """
    only = jnp.zeros(1, int)
    part = Participants(only, only > 0, jnp.int32(0), Identities(only, only[:0]))
    noise = NOISE * jax.random.normal(KEY, (STEPS, D))
    target = jnp.linspace(2.0, -2.0, D)

    def step(carry: tuple, number: jax.Array) -> tuple:
        parameters, memory = carry
        wanted = jnp.where(number < JUMP, target, -target)
        round = Round(NUMBERS, KEY, number, number, part, RATE, RATE, False, None, {}, data={})

        def take(point: jax.Array, round: Round) -> Sent:
            row = (point - wanted + noise[number]).reshape(1, D)
            return Sent(row, row, jnp.zeros(1), {})

        sent, memory = sender.send(take, parameters, memory, round)
        after = parameters - RATE * sent.vectors[0]
        return (after, memory), (take(parameters, round).vectors[0], sent.vectors[0])

    start = jnp.zeros(D)
    steps = jnp.arange(STEPS)
    _, (gradients, held) = jax.lax.scan(step, (start, sender.init(start, 1)), steps)
    return gradients, held


def draw(name: str, path: Path) -> None:
    """A picture of the sender, as a PNG file."""
    gradients, held = map(np.asarray, held_by_the_server(SHOWN[name]))
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    for coordinate, axes in zip((0, 2), figure.subplots(1, 2, sharey=True), strict=True):
        axes.plot(gradients[:, coordinate], ".", color="0.6", ms=4, label="gradient")
        axes.plot(held[:, coordinate], color="#d55e00", lw=1.6, label="held by the server")
        axes.set(xlabel="step", title=f"coordinate {coordinate + 1} of {D}")
        axes.axhline(0, color="0.85", lw=0.8, zorder=0)
    axes.legend(fontsize="x-small")
    figure.suptitle(name)
    figure.savefig(path, dpi=110)
