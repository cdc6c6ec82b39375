"""Attackers: what the Byzantine neighbours of a node send it, or a Byzantine node sends to all."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import asked, asks_for, name_of
from simbyz._arrays.checks import require_shape
from simbyz._arrays.stacking import PyTree
from simbyz.attacks.base import Attack, StatefulAttack, check_options, sending, with_memory
from simbyz.gossip.graphs.figures import fiedler_vector
from simbyz.gossip.networks.network import Network
from simbyz.simulator.keys import ATTACK, of_step

# What attacks ask for of the node that they attack.
AIMED = ("target", "neighbours", "weights", "place", "fiedler", "result")


class Setting(NamedTuple):
    """What an exchange is told beside the vectors."""

    key: jax.Array  # of the run
    step: jax.Array
    number: int | jax.Array  # of the exchange in this step
    honest: int  # nodes
    options: dict[str, Any]  # of the attack
    loss_of: Callable[[jax.Array, jax.Array], jax.Array]  # (node, parameters (d,)) -> loss


class Neighbourhood(NamedTuple):
    """One node's, by places among the h honest nodes."""

    node: jax.Array  # ()
    heard: jax.Array  # (k,) its honest neighbours
    known: jax.Array  # (k + 1,) with itself, in increasing order
    liars: jax.Array  # (b,) places among the Byzantine nodes
    weights: jax.Array  # (1 + k + b,)


def told_of(attack: Attack | StatefulAttack | None, network: Network) -> dict[str, Any]:
    """What the attack asks for about the network."""
    if attack is None or not asks_for(sending(attack), "fiedler"):
        return {}
    return {"fiedler": jnp.asarray(fiedler_vector(network.honest_graph), float)}


def check_aim(attack: Attack | StatefulAttack, to_all: bool) -> None:
    """Raises ValueError where an attack needs a node that it attacks, and attacks all alike."""
    name = name_of(sending(attack))
    aims = [one for one in AIMED if asks_for(sending(attack), one)]
    if aims and to_all:
        raise ValueError(
            f"the attack {name} asks for {', '.join(aims)} of each node that it attacks: it needs "
            "aimed=True and neighbours that are not sampled"
        )
    if isinstance(attack, StatefulAttack) and to_all:
        raise ValueError(
            f"the attack {name} remembers each node it attacks: it needs aimed=True and neighbours "
            "that are not sampled"
        )


def lies_to(
    attack: Attack | StatefulAttack | None,
    place: Neighbourhood,
    vectors: jax.Array,
    memory: PyTree,
    told: dict[str, Any],
    setting: Setting,
) -> tuple[jax.Array, PyTree]:
    """The rows (b, d) that a node is sent, made of what its honest neighbours and itself send; and
    the attack's memory.

    Args:
      attack: None without Byzantine nodes.
      place: of the node.
      vectors: (h, d) that the honest nodes send, and behind them the Byzantine ones' own, if any.
      memory: of a `StatefulAttack` that attacks this node.
      told: what else the attack may ask for.
      setting: of the exchange.
    """
    b, d = len(place.liars), vectors.shape[1]
    if b == 0:
        return jnp.zeros((0, d), vectors.dtype), memory
    assert attack is not None
    h = setting.honest
    values = (
        told
        | {
            "target": vectors[place.node],
            "neighbours": vectors[place.heard],
            "everyone": vectors[:h],
            "weights": place.weights,
            "place": place.node,
        }
        | ({"own": vectors[h + place.liars]} if len(vectors) > h else {})
    )
    options = setting.options | asked(sending(attack), values)
    check_options(attack, options)
    arguments = attack_key(setting), vectors[place.known], b
    rows, memory = with_memory(attack).send(*arguments, memory, **options)
    what = f"the attack {name_of(sending(attack))}"
    require_shape(what, rows, (b, d), "a row for each Byzantine neighbour, (b, d),")
    return rows, memory


def sent_to_all(
    attack: Attack | StatefulAttack | None, count: int, vectors: jax.Array, setting: Setting
) -> jax.Array:
    """What each Byzantine node sends to all its neighbours, (count, d), made of what all honest
    nodes send, or its own vector without an attack.
    """
    shape = count, vectors.shape[1]
    if count == 0 or attack is None:
        return vectors[setting.honest :]
    assert not isinstance(attack, StatefulAttack)
    honest = vectors[: setting.honest]
    values = {"everyone": honest}
    if len(vectors) > setting.honest:
        values["own"] = vectors[setting.honest :]
    options = setting.options | asked(attack, values)
    check_options(attack, options)
    rows = attack(attack_key(setting), honest, count, **options)
    what = f"the attack {name_of(attack)}"
    require_shape(what, rows, shape, "a row for each Byzantine node, (b, d),")
    return rows


def attack_key(setting: Setting) -> jax.Array:
    """One for all nodes, so that a random attack sends the same to all who hear the same; in the
    first exchange of a step that of the simulator with a server.
    """
    key = of_step(setting.key, ATTACK, setting.step)
    return jnp.where(setting.number == 0, key, jax.random.fold_in(key, setting.number))
