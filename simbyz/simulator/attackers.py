"""Who is Byzantine in a step, and what the server receives from everybody.

An attack is a pure function of what the honest workers send. One that learns from step to step is a
`StatefulAttack`: its state is carried by the simulator.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import asks_for
from simbyz._arrays.order_statistics import MAX_NETWORK_ROWS
from simbyz.attacks.base import Attack, StatefulAttack, sending
from simbyz.simulator.config import Config

PyTree = Any


class Identities(NamedTuple):
    """The workers' numbers, from 0 to n - 1, in increasing order."""

    honest: jax.Array  # (h,)
    byzantine: jax.Array  # (n - h,)


class Received(NamedTuple):
    """What arrives at the server in a step."""

    honest: jax.Array  # (h, d)
    byzantine: jax.Array  # (n - h, d)
    stack: jax.Array  # (n, d), row i from worker i
    attack: PyTree  # the attack's state


def identities(config: Config, key: jax.Array) -> Identities:
    """The last workers are Byzantine, or as many drawn by the key of the step."""
    workers = jnp.arange(config.n)
    if not config.redraw:
        return Identities(workers[: config.honest], workers[config.honest :])
    drawn = jax.random.permutation(key, config.n)
    return Identities(jnp.sort(drawn[: config.honest]), jnp.sort(drawn[config.honest :]))


def receive(
    config: Config,
    attack: Attack | StatefulAttack | None,
    key: jax.Array,
    vectors: jax.Array,
    who: Identities,
    state: PyTree,
    options: dict,
) -> Received:
    """What the honest workers send, what the Byzantine ones do, and both in the workers' order.

    Args:
      config: of the run.
      attack: None where Byzantine workers send what they computed, or there are none.
      key: of the step.
      vectors: (config.computing, d), what each worker that computes would send.
      who: the identities of the step.
      state: of a `StatefulAttack`.
      options: of the attack.
    """
    honest = vectors[who.honest] if config.redraw else vectors[: config.honest]
    if config.byzantine == 0:
        return Received(honest, honest[:0], honest, state)
    own = vectors[who.byzantine] if config.redraw else vectors[config.honest :]
    if config.byzantine_gradients and attack is not None and asks_for(sending(attack), "own"):
        options = {**options, "own": own}
    if attack is None:
        byzantine = own
    elif isinstance(attack, StatefulAttack):
        byzantine, state = attack.send(key, honest, config.byzantine, state, **options)
    else:
        byzantine = attack(key, honest, config.byzantine, **options)
    if config.redraw:
        stack = vectors.at[who.byzantine].set(byzantine)
    else:
        # Row by row: XLA:CPU would fuse the making of equal rows into one concatenation, and make
        # each of them anew. Many rows would compile for minutes.
        pieces = config.byzantine if config.byzantine <= MAX_NETWORK_ROWS else 1
        stack = jnp.concatenate([honest, *jnp.split(byzantine, pieces)])
    return Received(honest, byzantine, stack, state)
