"""Who takes part in a step, who of them is Byzantine, and what all phases of the step are told.

Partial participation: in each step the server asks some of the workers only. Who takes part is
drawn by the key of the step: all sets of that size alike, so that Byzantine workers come in by
chance; or always the same number of them. A round is then one of a simulator of the participants
alone: the rule's f, and what it needs of (n, f), are about the participants. Those who are absent
keep their memory untouched, and compute no gradient; the batches that they would have read stay
unread.

By chance more than f Byzantine workers may come in, as in reality: nobody can promise more about
such a step than the rule does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.stacking import PyTree
from simbyz.simulator.config import Config, Hyperparameters
from simbyz.simulator.keys import PARTICIPATE, REDRAW, of_step

# (step, **Hyperparameters.schedule) -> what the learning rate is multiplied by in this step
Schedule = Callable[..., jax.Array | float]


class Identities(NamedTuple):
    """The workers' numbers, from 0 to n - 1, in increasing order."""

    honest: jax.Array  # (h,)
    byzantine: jax.Array  # (n - h,)


class Participants(NamedTuple):
    """Of a step, the p workers who take part, in increasing order of their numbers."""

    workers: jax.Array  # (p,) numbers
    byzantine: jax.Array  # (p,) bool
    number: jax.Array  # (): which of `Config.rounds` this is
    identities: Identities  # of all n workers


class Round(NamedTuple):
    """Round: all that the phases of a step are told, made once and handed down."""

    hyperparameters: Hyperparameters
    key: jax.Array  # of the run; see `simbyz.simulator.keys`
    step: jax.Array  # number, from 0
    turn: jax.Array  # number of the gradient: the step, or among all local steps
    part: Participants
    rate: jax.Array | float  # the learning rate that acts, the schedule's factor included
    local_rate: jax.Array | float  # that of local steps, likewise
    ahead: jax.Array | bool  # whether gradients are taken where momentum leads (Nesterov)
    aggregate: Any  # (d,) of the last step; None without momentum at the server
    model_state: PyTree  # at the start
    data: PyTree = None  # of the task
    batch: PyTree = None  # leaves (w, ...) of all who ever compute, (k, w, ...) for k local steps
    # messages (w, d) -> those that arrive, and the attack's memory; None: nobody forges any
    forge: Callable[[jax.Array], tuple[jax.Array, PyTree]] | None = None
    # Of the senders beyond, without a leaf, so that a traced round has them too: whether one asks
    # for two gradients of a batch, True or None; and as many None as make messages.
    twice: bool | None = None
    beyond: tuple[None, ...] = ()


def identities(config: Config, key: jax.Array) -> Identities:
    """The last workers are Byzantine, or as many drawn by the key of the step."""
    workers = jnp.arange(config.n)
    if not config.redraw:
        return Identities(workers[: config.honest], workers[config.honest :])
    drawn = jax.random.permutation(key, config.n)
    return Identities(jnp.sort(drawn[: config.honest]), jnp.sort(drawn[config.honest :]))


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


def apart(config: Config, who: Identities, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The honest workers' rows (h, ...), and the Byzantine ones', of those of all that compute or
    send; without redrawing they stand in that order.
    """
    if config.redraw:
        return rows[who.honest], rows[who.byzantine]
    return rows[: config.honest], rows[config.honest :]


def batches_in_a_step(config: Config) -> int | float:
    """Batches that the honest participants read in a step, on average where chance decides."""
    if config.chance:
        return config.rounds[0].n * config.honest / config.n * config.local_steps
    return config.rounds[0].honest * config.local_steps
