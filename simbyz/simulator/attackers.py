"""Attackers, and the stack that the server receives: honest vectors, and what an attack makes.

An attack is a pure function of what the honest workers send. One that learns from step to step is a
`StatefulAttack`: its memory is carried by the simulator.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import asked, asks_for, name_of
from simbyz._arrays.checks import require_shape
from simbyz._arrays.ranks.order_statistics import MAX_NETWORK_ROWS
from simbyz._arrays.stacking import PyTree, in_types_of
from simbyz.attacks import base
from simbyz.attacks.base import Attack, StatefulAttack, forges, sending, with_memory
from simbyz.simulator.config import Config
from simbyz.simulator.keys import ATTACK, of_step
from simbyz.simulator.participation import Identities, Round, apart, in_rounds


class Received(NamedTuple):
    """Stack of a step as it arrives at the server, and the attack's memory."""

    stack: jax.Array  # (n, d), row i from worker i; of the p participants where some take part
    attack: PyTree  # the attack's memory


def check(config: Config, attack: Attack | StatefulAttack | None) -> None:
    """Whether somebody makes the Byzantine rows, of what there is.

    Raises:
      TypeError: the attack is no function.
      ValueError: attackers without an attack, an attack that needs honest rows where a step may
        have none, or what the attackers computed where they don't, or one that forges messages
        where the server holds nothing of the forgers.
    """
    if attack is None and config.byzantine and not config.byzantine_gradients:
        raise ValueError(
            f"{config.byzantine} Byzantine workers need an attack, or byzantine_gradients to send, "
            "got None"
        )
    if attack is not None:
        base.check(attack)
    if attack is not None and config.byzantine:
        base.check_own(attack, "Config", config.byzantine_gradients)
    fewest = config.rounds[-1].honest
    if attack is not None and fewest == 0 and not asks_for(sending(attack), "own"):
        raise ValueError(
            "an attack is made of what honest workers send, of whom a step may have none here: "
            "give one that takes `own`, or None to send what was computed, or more participants"
        )
    if attack is not None and forges(attack) and config.computing < config.n:
        raise ValueError(
            f"the attack {name_of(sending(attack))} forges messages, of workers of whom the server "
            "holds something: set Config(byzantine_gradients=True)"
        )


def receive(
    config: Config,
    attack: Attack | StatefulAttack | None,
    vectors: jax.Array,
    memory: PyTree,
    round: Round,
    of_root: Mapping[str, Any],
) -> Received:
    """The honest workers' rows and the Byzantine ones, in the workers' order.

    Args:
      config: of the run.
      attack: None where Byzantine workers send what they computed, or there are none.
      vectors: (w, d), what each worker that computes would send.
      memory: of a `StatefulAttack`.
      round: of the step.
      of_root: what is known of the server's own examples, for an attack that asks for it.
    """

    def of(one: Config, who: Identities) -> Received:
        honest, own = apart(one, who, vectors)
        if one.byzantine == 0:
            return Received(honest, memory)
        byzantine, learned = own, memory
        if attack is not None:
            known = {**of_root, "own": own} if one.byzantine_gradients else of_root
            options = round.hyperparameters.attack | asked(sending(attack), known)
            base.check_options(attack, options)
            arguments = of_step(round.key, ATTACK, round.step), honest, one.byzantine
            byzantine, learned = with_memory(attack).send(*arguments, memory, **options)
            learned = in_types_of(memory, learned)  # as where a step has no attackers
            require_shape(
                f"the attack {name_of(sending(attack))}",
                byzantine,
                (one.byzantine, vectors.shape[1]),
                "a row for each Byzantine worker, (num_byzantine, d),",
            )
        if one.redraw:
            return Received(vectors.at[who.byzantine].set(byzantine), learned)
        # Row by row: XLA:CPU would fuse the making of equal rows into one concatenation, and make
        # each of them anew. Many rows would compile for minutes.
        pieces = one.byzantine if one.byzantine <= MAX_NETWORK_ROWS else 1
        return Received(jnp.concatenate([honest, *jnp.split(byzantine, pieces)]), learned)

    return in_rounds(config, round.part, of)
