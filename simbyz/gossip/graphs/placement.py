"""Placement: which nodes are Byzantine."""

import jax
import numpy as np

from simbyz._arrays.checks import integer
from simbyz.data.host_random import generator
from simbyz.gossip.graphs.figures import is_connected
from simbyz.gossip.graphs.graph import Graph, require_graph

DRAWS = 1000  # of a placement with a bound, before it is given up


def at_random(key: jax.Array, graph: Graph, count: int) -> tuple[int, ...]:
    """Any nodes, with the same chance.

    Raises:
      ValueError: count not from 0 to n - 1.
    """
    rng, count = generator(key, "a placement"), _count(graph, count)
    return tuple(sorted(map(int, rng.permutation(graph.n)[:count])))


def most_central(graph: Graph, count: int) -> tuple[int, ...]:
    """The nodes that most of the shortest ways lead through (betweenness), of equal ones the first.

    Raises:
      ValueError: count not from 0 to n - 1.

    Reference: Brandes, A faster algorithm for betweenness centrality, 2001.
    """
    count = _count(graph, count)
    central = _betweenness(graph)
    order = np.lexsort((np.arange(graph.n), -central.round(9)))
    return tuple(sorted(map(int, order[:count])))


def at_most(key: jax.Array, graph: Graph, count: int, *, b: int) -> tuple[int, ...]:
    """Random nodes, such that no honest node hears more than b of them, and the honest ones stay
    connected among themselves.

    Raises:
      ValueError: count not from 0 to n - 1, or none found.
    """
    rng, count, b = generator(key, "a placement"), _count(graph, count), integer("b", b)
    for _ in range(DRAWS):
        heard = np.zeros(graph.n, int)
        chosen: list[int] = []
        for node in rng.permutation(graph.n):
            if len(chosen) == count:
                break
            more = heard + np.bincount(graph.arcs[graph.arcs[:, 0] == node, 1], minlength=graph.n)
            honest = np.setdiff1d(np.arange(graph.n), [*chosen, node])
            if (more[honest] <= b).all():
                heard, chosen = more, [*chosen, int(node)]
        honest = np.setdiff1d(np.arange(graph.n), chosen)
        if len(chosen) == count and is_connected(graph.among(honest)):
            return tuple(sorted(chosen))
    raise ValueError(
        f"no place found for {count} Byzantine nodes in {graph.name} of n={graph.n} with at most "
        f"b={b} in a neighbourhood and connected honest nodes: ask for fewer"
    )


def _count(graph: Graph, count: int) -> int:
    require_graph(graph)
    if not 0 <= integer("count", count) < graph.n:
        raise ValueError(f"count must be from 0 to n - 1 = {graph.n - 1}, got {count}")
    return count


def _betweenness(graph: Graph) -> np.ndarray:
    """For each node, the sum over pairs of the share of their shortest ways that leads through."""
    told = [[] for _ in range(graph.n)]  # type: list[list[int]]
    for sender, receiver in graph.arcs.tolist():
        told[sender].append(receiver)
    total = np.zeros(graph.n)
    for source in range(graph.n):
        order, before = [], [[] for _ in range(graph.n)]  # type: list[int], list[list[int]]
        ways, distance = np.zeros(graph.n), np.full(graph.n, -1)
        ways[source], distance[source] = 1, 0
        queue = [source]
        for node in queue:
            order.append(node)
            for other in told[node]:
                if distance[other] < 0:
                    distance[other] = distance[node] + 1
                    queue.append(other)
                if distance[other] == distance[node] + 1:
                    ways[other] += ways[node]
                    before[other].append(node)
        through = np.zeros(graph.n)
        for node in reversed(order):
            for other in before[node]:
                through[other] += ways[other] / ways[node] * (1 + through[node])
        through[source] = 0
        total += through
    return total
