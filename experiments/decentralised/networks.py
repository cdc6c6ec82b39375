"""The graphs by name, and where their Byzantine nodes stand."""

from collections.abc import Callable

import jax
import numpy as np

from simbyz.gossip import Network
from simbyz.gossip import graphs as made
from simbyz.gossip.graphs import Graph

SEED = 0  # of random graphs and places, the same in all runs
EVERYWHERE = "everywhere"
TWO_WORLDS = "two_worlds"


def _torus(n: int) -> Graph:
    rows = max((r for r in range(3, int(n**0.5) + 1) if n % r == 0), default=0)
    if not rows:
        raise ValueError(f"a torus has equal rows, 3 or more: there is none of n={n} nodes")
    return made.torus(rows, n // rows)


# Names -> functions of n: rings, regular graphs and small worlds have four neighbours a node, and
# nodes of two worlds as many friends as a sixth of n in the other.
GRAPHS: dict[str, Callable[[int], Graph]] = {
    "complete": made.complete,
    TWO_WORLDS: lambda n: made.two_worlds(n, n // 2 * max(1, n // 6)),
    "ring": lambda n: made.ring(n, 4),
    "torus": _torus,
    "regular": lambda n: made.regular(jax.random.key(SEED), n, 4),
    "erdos_renyi": lambda n: made.erdos_renyi(jax.random.key(SEED), n, min(1.0, 3 * np.log(n) / n)),
    "random_geometric": lambda n: made.random_geometric(
        jax.random.key(SEED), n, min(1.5, 2 * (np.log(n) / n) ** 0.5)
    ),
    "small_world": lambda n: made.small_world(jax.random.key(SEED), n, 4, 0.2),
}


def graph_of(name: str, n: int, friends: int | None = None) -> Graph:
    """The graph of a name and so many nodes; friends: of each in the other of two worlds."""
    if friends is None or name != TWO_WORLDS:
        return GRAPHS[name](n)
    return made.two_worlds(n, friends * (n // 2))


def network_of(
    name: str, honest: int, f: int, placement: str, friends: int | None = None
) -> Network:
    """The network of a graph of this name.

    everywhere: the graph is of the honest nodes, and f more lie to each of them. random, central:
    the graph has f nodes more, of which as many are Byzantine, and a node tolerates as many
    neighbours as the one that hears most of them hears.

    Raises:
      ValueError: there is no such graph, or its honest nodes are not connected.
    """
    if placement == EVERYWHERE:
        return with_liars(graph_of(name, honest, friends), f)
    graph = graph_of(name, honest + f, friends)
    key = jax.random.key(SEED)
    chosen = (
        made.most_central(graph, f) if placement == "central" else made.at_random(key, graph, f)
    )
    return Network(graph, chosen)


def with_liars(graph: Graph, f: int) -> Network:
    """A graph of honest nodes, and f Byzantine ones that each of them hears."""
    n = graph.n
    liars = range(n, n + f)
    arcs = [*graph.arcs.tolist(), *((a, b) for a in liars for b in range(n))]
    arcs += [(b, a) for a, b in arcs[len(graph.arcs) :]]
    return Network(Graph(n + f, np.array(arcs).reshape(-1, 2), graph.name), tuple(liars))
