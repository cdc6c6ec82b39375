"""Local steps, as in federated averaging: workers move by themselves before they send.

In a round each worker starts from the server's θ and takes k steps on batches of its own:

    g   = gradient at y, regularised, then clipped
    m_i = decay m_i + gain g             its momentum, carried from round to round; without: m_i = g
    y   = y - local learning rate · m_i

It sends (θ - y) / local learning rate, which is the sum of its k vectors m_i: the difference of the
models in units of a gradient. All that follows (momentum at the server, attack, rule, momentum at
the update, optimiser) is as without local steps, and one local step is distributed SGD. With the
local learning rate equal to the server's, the average of the sent vectors takes θ to the average of
the models.

This is federated averaging (McMahan et al., Communication-efficient learning of deep networks from
decentralized data, AISTATS 2017) with momentum at the workers.
"""

import jax
import jax.numpy as jnp

from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import PyTree, in_types_of
from simbyz.simulator.config import Config
from simbyz.simulator.participation import Round
from simbyz.simulator.workers.sender import Sender, Sent, Take


def local_steps(config: Config, sender: Sender) -> Sender:
    """`config.local_steps` along what a sender sends, each from where the last one led.

    Wraps all that acts in a local step, and with it the taking of gradients, so that it comes first
    in a chain. What is sampled is summed over the local steps, as what is sent; the losses are of
    the first one, and the model state is averaged after each.
    """

    Carry = tuple[jax.Array, jax.Array, PyTree, PyTree]
    count, workers = config.local_steps, config.rounds[0].computing

    def send(take: Take, point: jax.Array, memory: PyTree, round: Round) -> tuple[Sent, PyTree]:
        start, rate = jnp.atleast_2d(point), round.local_rate

        def one(carry: Carry, inputs: tuple[jax.Array, PyTree]) -> tuple[Carry, jax.Array]:
            sampled, vectors, memory, model_state = carry
            number, batch = inputs
            local = round._replace(
                turn=round.step * count + number, rate=rate, batch=batch, model_state=model_state
            )
            sent, memory = sender.send(take, start - rate * vectors, memory, local)
            sums = sampled + sent.sampled, vectors + sent.vectors
            return in_types_of(carry, (*sums, memory, sent.model_state)), sent.losses

        zeros = jnp.zeros((workers, start.shape[1]), wide(start).dtype)
        carry = (zeros, zeros, memory, round.model_state)
        inputs = (jnp.arange(count), round.batch)
        (sampled, vectors, memory, model_state), losses = jax.lax.scan(one, carry, inputs)
        return Sent(vectors, sampled, losses[0], model_state), memory

    return Sender(sender.init, send)
