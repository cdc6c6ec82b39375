"""What meets at each node, and what its rule makes of it: one exchange.

Nodes with neighbourhoods of one shape are one `vmap`, so that memory follows the edges; with
`nodes_at_once`, those of as many nodes at a time. The rows that meet at a node are its own, its
honest neighbours', then the Byzantine ones'. To a rule that asks for weights a row of weight 0 is
none, so that nodes of nearly as many neighbours are filled up to one shape, and compiled once.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.calling import asks_for, name_of
from simbyz._arrays.checks import integer, random_key, require_floats, require_shape
from simbyz._arrays.halves import selection_of
from simbyz._arrays.stacking import PyTree
from simbyz.aggregators.base import Rule, together
from simbyz.attacks.base import Attack, StatefulAttack
from simbyz.gossip.attackers import Neighbourhood, Setting, check_aim, lies_to, sent_to_all, told_of
from simbyz.gossip.columns import Heard, heard_by, heard_of_sample, spread
from simbyz.gossip.config import GossipConfig
from simbyz.gossip.networks.groups import Group, groups, merged
from simbyz.gossip.networks.network import Network
from simbyz.gossip.networks.sampled import Sampled
from simbyz.gossip.over_devices import mapped
from simbyz.simulator.keys import RULE, SAMPLE, of_step


class Exchanged(NamedTuple):
    """Results of an exchange at the h honest nodes."""

    vectors: jax.Array  # (h, d)
    heard: Heard  # of leaves (h, ...)
    attack: PyTree  # memory of a StatefulAttack, leaves (h, ...)


class Players(NamedTuple):
    """The two sides of a run."""

    config: GossipConfig
    rule: Rule
    selection: Rule | None
    attack: Attack | StatefulAttack | None
    dimension: int


Exchange = Callable[[jax.Array, PyTree, Setting], Exchanged]


def make_exchange(players: Players) -> Exchange:
    """(vectors (h, d), attack memory, setting) -> `Exchanged`, in the network whose turn it is."""
    turns = [
        on(players, network) if isinstance(network, Network) else sampling(players, network)
        for network in players.config.networks
    ]

    def exchange(vectors: jax.Array, memory: PyTree, setting: Setting) -> Exchanged:
        if len(turns) == 1:
            return turns[0](vectors, memory, setting)
        # The step is not batched in a sweep, so that this stays a branch.
        branches = [lambda *held, turn=turn: turn(*held, setting) for turn in turns]
        made: Exchanged = jax.lax.switch(setting.step % len(turns), branches, vectors, memory)
        return made

    return exchange


def on(players: Players, network: Network) -> Exchange:
    """An exchange in a network: what is sent to each node, then what its rule makes of it."""
    told, config = told_of(players.attack, network), players.config
    parts = alike = groups(network, everybody=config.byzantine_gradients)
    check_sizes(players, ((group.f, 1 + sum(group.shape)) for group in parts))
    if asks_for(players.rule, "weights") and not config.certify:
        alike = merged(parts)
    back = np.argsort(np.concatenate([group.nodes for group in alike]))

    def exchange(vectors: jax.Array, memory: PyTree, setting: Setting) -> Exchanged:
        if config.aimed and players.attack is not None:
            lies, memory = aimed_at(players, parts, told, vectors, memory, setting)
        else:
            all_lies = sent_to_all(players.attack, config.byzantine, vectors, setting)
            lies = functools.partial(_rows_of, all_lies)
        made = [in_group(players, group, vectors, lies(group), setting) for group in alike]
        aggregates, heard = jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[back], *made)
        if isinstance(players.attack, StatefulAttack):
            memory = jax.vmap(players.attack.learn)(memory, aggregates)
        return Exchanged(aggregates, heard, memory)

    return exchange


def check_sizes(players: Players, sizes: Iterable[tuple[int, int]]) -> None:
    """Whether the rule takes as many rows as meet at each node, (f, n): a merged group has more."""
    for f, n in dict.fromkeys(sizes):
        place = Neighbourhood(*map(jnp.asarray, (0, [0], [0], [0], np.full(n, 1 / n, np.float32))))
        setting = Setting(jax.random.key(0), jnp.int32(0), 0, 1, {}, lambda node, point: point[0])
        at_a_node = functools.partial(
            made_of, players, f, liars=np.zeros(n, bool), place=place, setting=setting
        )
        rows = jax.ShapeDtypeStruct((n, players.dimension), jnp.float32)
        try:
            jax.eval_shape(at_a_node, rows)
        except ValueError as error:
            raise ValueError(f"at a node that hears {n - 1} neighbours: {error}") from error


Lies = Callable[[Group], jax.Array]


def aimed_at(
    players: Players,
    parts: Sequence[Group],
    told: dict[str, Any],
    vectors: jax.Array,
    memory: PyTree,
    setting: Setting,
) -> tuple[Lies, PyTree]:
    """What each node is sent, as a function group -> (m, b, d); and the attack's memory."""
    b = max(group.shape[1] for group in parts)
    if b == 0:
        return functools.partial(_rows_of, jnp.zeros((0, vectors.shape[1]))), memory
    made = []
    for group in parts:
        liars = np.arange(1 + sum(group.shape)) > group.shape[0]

        def of(
            one: tuple[Neighbourhood, PyTree], group: Group = group, liars: np.ndarray = liars
        ) -> tuple[jax.Array, PyTree]:
            place, memory = one

            own = jnp.concatenate([vectors[place.node][None], vectors[place.heard]])

            def result(byzantine: jax.Array, honest: jax.Array = own) -> jax.Array:
                stack = jnp.concatenate([honest, byzantine])
                alone = players._replace(selection=None)
                return made_of(alone, group.f, stack, liars, place, setting)[0]

            more = told | {"result": result}
            sent, memory = lies_to(players.attack, place, vectors, memory, more, setting)
            return jnp.pad(sent, ((0, b - len(sent)), (0, 0))), memory

        theirs = jax.tree.map(lambda leaf, nodes=group.nodes: leaf[nodes], memory)
        each = places_of(group, vectors), theirs
        made.append(in_turns(of, each, players.config.nodes_at_once))
    back = np.argsort(np.concatenate([group.nodes for group in parts]))
    sent, memory = jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[back], *made)
    return lambda group: sent[group.nodes, : group.shape[1]], memory


def in_group(
    players: Players,
    group: Group,
    vectors: jax.Array,
    lies: jax.Array,
    setting: Setting,
) -> tuple[jax.Array, Heard]:
    """What the rule makes at the m nodes of a group of what they are sent, lies (m, b, d)."""
    k, b = group.shape
    liars = np.arange(1 + k + b) > k

    def of(one: tuple[Neighbourhood, jax.Array]) -> tuple[jax.Array, Heard]:
        place, lies = one
        rows = jnp.concatenate([vectors[place.node][None], vectors[place.heard], lies])
        aggregate, shares = made_of(players, group.f, rows, liars, place, setting)
        weighed = place.weights > 0 if asks_for(players.rule, "weights") else None
        config = players.config
        told = heard_by(rows, b, aggregate, shares, weighed, config.widths, config.certify)
        return aggregate, told

    each = places_of(group, vectors), lies
    made: tuple[jax.Array, Heard] = in_turns(of, each, players.config.nodes_at_once)
    return made


def places_of(group: Group, vectors: jax.Array) -> Neighbourhood:
    """The neighbourhoods of a group, leaves (m, ...)."""
    places = Neighbourhood(*map(jnp.asarray, group[1:]))
    return places._replace(weights=places.weights.astype(vectors.dtype))


def _rows_of(rows: jax.Array, group: Group) -> jax.Array:
    return rows[group.liars]


def sampling(players: Players, network: Sampled) -> Exchange:
    """An exchange with neighbours that are drawn for it."""
    config, size = players.config, network.degree + 1
    check_sizes(players, [(network.f, size)])

    def exchange(vectors: jax.Array, memory: PyTree, setting: Setting) -> Exchanged:
        key = jax.random.fold_in(of_step(setting.key, SAMPLE, setting.step), setting.number)
        lies = sent_to_all(players.attack, config.byzantine, vectors, setting)
        messages = jnp.concatenate([vectors[: config.honest], lies])
        weights = jnp.full(size, 1 / size, vectors.dtype)

        def of(one: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Heard]:
            node, drawn = one
            liars = jnp.append(False, drawn >= config.honest)
            place = Neighbourhood(node, drawn, drawn, drawn, weights)
            # A Byzantine node's own row is its vector, not what it sends.
            rows = jnp.concatenate([vectors[node][None], messages[drawn]])
            aggregate, shares = made_of(players, network.f, rows, liars, place, setting)
            return aggregate, heard_of_sample(liars, shares)

        each = jnp.arange(config.computing), network.draw(key, config.computing)
        aggregates, heard = in_turns(of, each, config.nodes_at_once)
        return Exchanged(aggregates, heard, memory)

    return exchange


def made_of(
    players: Players,
    f: int,
    rows: jax.Array,
    liars: jax.Array | np.ndarray,
    place: Neighbourhood,
    setting: Setting,
) -> tuple[jax.Array, jax.Array | None]:
    """What a node's rule makes of the rows (n, d) that meet there, of which some lie, (n,) bools;
    and each row's weight in it.
    """
    rule = players.rule
    key = jax.random.fold_in(of_step(setting.key, RULE, setting.step), setting.number)
    aggregate, shares = together(rule, players.selection)(
        rows,
        f,
        key=jax.random.fold_in(key, place.node),
        weights=place.weights,
        trusted=rows[0],
        honest=jnp.asarray(~liars),
        loss_of=lambda point: setting.loss_of(place.node, point),
    )
    require_shape(f"the rule {name_of(rule)}", aggregate, rows.shape[1:], "an aggregate (d,)")
    require_floats(f"the rule {name_of(rule)}", aggregate)
    if shares is not None:
        what = f"the selection {name_of(players.selection)}"
        require_shape(what, shares, rows.shape[:1], "a weight a row, (n,),")
    return aggregate, shares


def in_turns(function: Callable[[Any], Any], each: PyTree, at_once: int | None) -> Any:
    """`function` of each, leaves (m, ...), `at_once` of them together, or all."""
    if at_once is None:
        return mapped(function, each)
    return jax.lax.map(function, each, batch_size=at_once)


def who_hears_whom(
    config: GossipConfig,
    rule: Rule,
    attack: Attack | None,
    vectors: jax.Array,
    key: jax.Array,
    step: int = 0,
    *,
    selection: Rule | None = None,
    **options: Any,
) -> np.ndarray:
    """Each node's weight in what the rule makes at each honest node, (h, n): 0 where it excludes
    what was sent, NaN where nothing is.

    Args:
      config: of the run; its neighbours are not sampled.
      rule, selection, attack: as in `make_gossip`; the rule asks for no `loss_of`.
      vectors: (h, d) that the honest nodes send, such as a run's parameters; where all compute also
        (n, d), those of the Byzantine ones last.
      key, step: of the run.
      options: of the attack.

    Raises:
      TypeError: the attack has a memory; a config, key or step that is none.
      ValueError: a rule without a selection, neighbours that are sampled, vectors of another shape,
        Byzantine nodes without an attack, or one that asks for a node and attacks all.
    """
    if not isinstance(config, GossipConfig):
        raise TypeError(f"config must be a GossipConfig, got {type(config).__name__}")
    random_key("who_hears_whom", key)
    network = config.networks[integer("step", step) % len(config.networks)]
    if isinstance(network, Sampled):
        raise ValueError("who_hears_whom needs neighbours that are not sampled")
    if isinstance(attack, StatefulAttack):
        raise TypeError("who_hears_whom takes attacks without a memory")
    given = jnp.asarray(vectors)
    rows = sorted({config.honest, config.computing})
    if given.ndim != 2 or len(given) not in rows or not jnp.issubdtype(given.dtype, jnp.floating):
        raise ValueError(
            f"vectors must be floats of shape (h, d), h = {' or '.join(map(str, rows))}, got "
            f"{given.dtype} {given.shape}"
        )
    if attack is None and config.n > len(given):
        raise ValueError(f"{config.byzantine} Byzantine nodes need an attack to send, got None")
    if attack is not None:
        check_aim(attack, not config.aimed)
    selection = selection_of(rule) if selection is None else selection
    players = Players(config, rule, selection, attack, given.shape[1])

    def no_loss(node: jax.Array, point: jax.Array) -> jax.Array:
        raise ValueError(f"who_hears_whom has no losses, which {name_of(rule)} asks for")

    @jax.jit
    def shares(vectors: jax.Array) -> jax.Array:
        setting = Setting(key, jnp.int32(step), 0, config.honest, options, no_loss)
        made = on(players, network)(vectors, None, setting).heard.shares
        assert made is not None
        return made

    return spread(network, shares(given)[: config.honest], config.widths)
