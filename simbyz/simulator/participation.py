"""Partial participation: in each step the server asks some of the workers only.

Who takes part is drawn by the key of the step: all sets of that size alike, so that Byzantine
workers come in by chance; or always the same number of them. A round is then one of a simulator of
the participants alone: the rule's f, and what it needs of (n, f), are about the participants. Those
who are absent keep their momentum untouched, and compute no gradient; the batches that they would
have read stay unread.

By chance more than f Byzantine workers may come in, as in reality: nobody can promise more about
such a step than the rule does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simbyz.simulator.attackers import Identities, identities
from simbyz.simulator.config import Config
from simbyz.simulator.keys import PARTICIPATE, REDRAW, of_step


class Participants(NamedTuple):
    """Of a step, the p workers who take part, in increasing order of their numbers."""

    workers: jax.Array  # (p,) numbers
    byzantine: jax.Array  # (p,) bool
    number: jax.Array  # (): which of `Config.rounds` this is
    identities: Identities  # of all n workers


def participants(config: Config, key: jax.Array, step: jax.Array) -> Participants:
    """Who takes part in a step; all if `config.participants` is None."""
    who = identities(config, of_step(key, REDRAW, step))
    byzantine = jnp.zeros(config.n, bool).at[who.byzantine].set(True)
    if config.participants is None:
        return Participants(jnp.arange(config.n), byzantine, jnp.int32(0), who)
    draw = of_step(key, PARTICIPATE, step)
    if config.chance:
        workers = jnp.sort(jax.random.permutation(draw, config.n)[: config.participants])
    else:
        of_honest, of_byzantine = jax.random.split(draw)
        count = config.rounds[0].byzantine
        honest = jax.random.permutation(of_honest, who.honest)[: config.participants - count]
        others = jax.random.permutation(of_byzantine, who.byzantine)[:count]
        workers = jnp.sort(jnp.concatenate([honest, others]))
    present = byzantine[workers]
    number = jnp.sum(present) - config.rounds[0].byzantine
    return Participants(workers, present, number, who)


def in_rounds(config: Config, part: Participants, call: Callable[[Config, Identities], Any]) -> Any:
    """call(round, who) of the round that a step is, `who` as places among its participants.

    As many Byzantine participants as chance brings are as many branches, of fixed shapes each; what
    they return has one shape. Under `vmap` all are computed, and one is taken.
    """
    if config.participants is None:
        return call(config, part.identities)
    order = jnp.argsort(part.byzantine, stable=True)

    def branch(one: Config) -> Callable[[], Any]:
        return lambda: call(one, Identities(order[: one.honest], order[one.honest :]))

    branches = [branch(one) for one in config.rounds]
    return jax.lax.switch(part.number, branches) if config.chance else branches[0]()


def batches_in_a_step(config: Config) -> int | float:
    """Batches that the honest participants read in a step, on average where chance decides."""
    if config.chance:
        return config.rounds[0].n * config.honest / config.n * config.local_steps
    return config.rounds[0].honest * config.local_steps
