"""Memory of a sender's step: what its states need, and a few passes over the vectors beside."""

import jax
import jax.numpy as jnp
import pytest

from simbyz.simulator import Hyperparameters
from simbyz.simulator.participation import Identities, Participants, Round
from simbyz.simulator.workers import (
    Sent,
    average,
    by_chance,
    byz_clip21_sgd2m,
    byz_dm21,
    byz_ef21_sgdm,
    byz_vr_dm21,
    compress,
    corrected_average,
    delayed_momentum,
    feedback,
    late,
    private_noise,
    quantise,
    rand_k,
    rosdhb,
    sign,
    top_k,
    when_present,
)

W, D = 8, 20_000
ROWS = 4 * W * D  # bytes
# The sender, and how many rows of each worker it remembers.
KEPT = {
    "top_k": (compress(top_k(200)), 0),
    "rand_k": (compress(rand_k(200)), 0),
    "quantise": (compress(quantise(4)), 0),
    "sign": (compress(sign()), 0),
    "noise": (private_noise(0.1), 0),
    "average": (average(0.1), 1),
    "corrected_average": (corrected_average(0.1), 2),
    "feedback": (feedback(top_k(200)), 1),
    "noisy feedback": (feedback(top_k(200), noise=0.1), 2),
    "when_present": (when_present(by_chance(0.5)), 1),
    "late": (late(3), 3),
    "byz_ef21_sgdm": (byz_ef21_sgdm(0.1, top_k(200)), 2),
    "byz_dm21": (byz_dm21(0.1, top_k(200)), 3),
    "byz_vr_dm21": (byz_vr_dm21(0.1, top_k(200)), 4),
    "rosdhb": (rosdhb(200, 0.9), 1),
    "byz_clip21_sgd2m": (byz_clip21_sgd2m(0.1, 0.5, 1.0, 0.1), 3),
    "delayed_momentum": (delayed_momentum(0.1, 0.2), 2),
}


@pytest.mark.slower
@pytest.mark.parametrize("name", KEPT)
def test_a_step_takes_what_its_states_need(name):
    sender, kept = KEPT[name]
    memory = jax.eval_shape(lambda: sender.init(jnp.zeros(D), W))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(memory))
    assert kept * ROWS <= size <= kept * ROWS + 8 * W
    numbers = jnp.arange(W)
    part = Participants(numbers, jnp.zeros(W, bool), jnp.int32(0), Identities(numbers, numbers[:0]))

    def step(rows, memory, key, number):
        def take(point, round):
            return Sent(rows, rows, jnp.zeros(W), {})

        given = Hyperparameters(0.1, clip=1.0)
        round = Round(given, key, number, number, part, 0.1, 0.1, False, None, {}, data={})
        sent, after = sender.send(take, jnp.zeros(D), memory, round)
        return sent.vectors, after

    rows = jax.ShapeDtypeStruct((W, D), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    number = jax.ShapeDtypeStruct((), jnp.int32)
    compiled = jax.jit(step, donate_argnums=1).lower(rows, memory, key, number).compile()
    assert compiled.memory_analysis().temp_size_in_bytes <= 5 * ROWS
