"""Kinds of graphs: regular ones, random ones, and cliques with a bridge.

Random ones are made on the host from a key, and drawn again until they are connected.
"""

import itertools
from collections.abc import Callable

import jax
import numpy as np

from simbyz._arrays.checks import integer, number
from simbyz.data.host_random import generator
from simbyz.gossip.graphs.figures import is_connected
from simbyz.gossip.graphs.graph import Graph, from_edges

DRAWS = 100  # of a random graph, before it is given up
SWAPS = 20  # tried for each edge of a random regular graph


def complete(n: int) -> Graph:
    """Everybody hears everybody."""
    return from_edges(n, itertools.combinations(range(integer("n", n)), 2), name="complete")


def star(n: int) -> Graph:
    """Node 0 is linked with all others."""
    return from_edges(n, [(0, i) for i in range(1, integer("n", n))], name="star")


def ring(n: int, degree: int = 2) -> Graph:
    """Each node is linked with the degree / 2 next ones on either side.

    Raises:
      ValueError: the degree is odd, below 2 or not below n.
    """
    n, degree = integer("n", n), integer("degree", degree)
    if degree % 2 or not 2 <= degree < n:
        raise ValueError(f"ring needs an even degree from 2 to n - 1, got n={n}, degree={degree}")
    edges = [(i, (i + k) % n) for i in range(n) for k in range(1, degree // 2 + 1)]
    return from_edges(n, edges, name="ring")


def torus(rows: int, columns: int) -> Graph:
    """A lattice whose ends meet: each node has the four neighbours beside, above and below.

    Raises:
      ValueError: fewer than three rows or columns, where two neighbours would be one.
    """
    rows, columns = integer("rows", rows), integer("columns", columns)
    if min(rows, columns) < 3:
        raise ValueError(f"torus needs 3 rows and columns or more, got {rows} and {columns}")
    nodes = np.arange(rows * columns).reshape(rows, columns)
    pairs = [(nodes, np.roll(nodes, -1, axis)) for axis in (0, 1)]
    edges = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in pairs])
    return from_edges(rows * columns, edges, name="torus")


def two_worlds(n: int, links: int = 1) -> Graph:
    """Two cliques, of ⌊n/2⌋ nodes and of the others, and a bridge of so many edges.

    The k-th edge is from node k mod ⌊n/2⌋ of the first to the node as far on in the second, one
    further with each turn: with links = k ⌊n/2⌋ each node of the first has k friends in the second.

    Raises:
      ValueError: n < 4, or links not from 1 to ⌊n/2⌋².
    """
    n, links, half = integer("n", n), integer("links", links), n // 2
    if n < 4 or not 1 <= links <= half**2:
        raise ValueError(
            f"two_worlds needs n >= 4 and links from 1 to {half**2}, got n={n}, links={links}"
        )
    cliques = [
        (first + i, first + j)
        for first, size in ((0, half), (half, n - half))
        for i, j in itertools.combinations(range(size), 2)
    ]
    bridge = [(k % half, half + (k % half + k // half) % half) for k in range(links)]
    return from_edges(n, cliques + bridge, name="two_worlds")


def erdos_renyi(key: jax.Array, n: int, probability: float) -> Graph:
    """Each of the possible edges with a probability.

    Raises:
      ValueError: a probability not from 0 to 1, or no connected graph in 100 draws.
    """
    number("probability", probability, "from 0 to 1", lambda share: 0 <= share <= 1)
    pairs = np.stack(np.triu_indices(integer("n", n), 1), axis=1)

    def draw(rng: np.random.Generator) -> Graph:
        return from_edges(n, pairs[rng.random(len(pairs)) < probability], name="erdos_renyi")

    return _connected(key, draw)


def random_geometric(key: jax.Array, n: int, radius: float) -> Graph:
    """Nodes at random places in the unit square, linked if at most a radius apart.

    Raises:
      ValueError: a radius that is not positive, or no connected graph in 100 draws.
    """
    number("radius", radius, "positive", lambda length: length > 0)
    if integer("n", n) < 1:
        raise ValueError(f"a graph needs n >= 1 nodes, got n={n}")
    first, second = np.triu_indices(n, 1)

    def draw(rng: np.random.Generator) -> Graph:
        places = rng.random((n, 2))
        near = np.sum(np.square(places[first] - places[second]), axis=1) <= radius**2
        edges = np.stack([first[near], second[near]], axis=1)
        return from_edges(n, edges, name="random_geometric")

    return _connected(key, draw)


def regular(key: jax.Array, n: int, degree: int) -> Graph:
    """A random graph in which each node has the same number of neighbours.

    From a ring (with opposite nodes linked where the degree is odd), by many random swaps of two
    edges a-b, c-d to a-d, c-b that leave no edge double.

    Raises:
      ValueError: n · degree is odd, a degree below 2 or not below n; no connected graph.
    """
    n, degree = integer("n", n), integer("degree", degree)
    if n * degree % 2 or not 2 <= degree < n:
        raise ValueError(
            "regular needs a degree from 2 to n - 1 with n · degree even, got "
            f"n={n}, degree={degree}"
        )
    start = [(i, (i + k) % n) for i in range(n) for k in range(1, degree // 2 + 1)]
    if degree % 2:
        start += [(i, i + n // 2) for i in range(n // 2)]

    def draw(rng: np.random.Generator) -> Graph:
        edges = list(start)
        there = {frozenset(edge) for edge in edges}
        for first, second in rng.integers(len(edges), size=(SWAPS * len(edges), 2)):
            (a, b), (c, d) = edges[first], edges[second][:: rng.choice([1, -1])]
            new = frozenset((a, d)), frozenset((c, b))
            if len({a, b, c, d}) == 4 and not there & set(new):
                there -= {frozenset((a, b)), frozenset((c, d))}
                there |= set(new)
                edges[first], edges[second] = (a, d), (c, b)
        return from_edges(n, edges, name="regular")

    return _connected(key, draw)


def small_world(key: jax.Array, n: int, degree: int, rewired: float) -> Graph:
    """A ring in which each edge's far end is moved to a random node with a probability.

    Raises:
      ValueError: as `ring`; rewired not from 0 to 1; no connected graph in 100 draws.

    Reference: Watts and Strogatz, Collective dynamics of small-world networks, Nature 1998.
    """
    number("rewired", rewired, "from 0 to 1", lambda share: 0 <= share <= 1)
    arcs = ring(n, degree).arcs
    start = [(int(a), int(b)) for a, b in arcs if a < b]

    def draw(rng: np.random.Generator) -> Graph:
        there = {frozenset(edge) for edge in start}
        for a, b in start:
            free = [c for c in range(n) if c != a and frozenset((a, c)) not in there]
            if free and rng.random() < rewired:
                there.remove(frozenset((a, b)))
                there.add(frozenset((a, int(rng.choice(free)))))
        return from_edges(n, [(min(edge), max(edge)) for edge in there], name="small_world")

    return _connected(key, draw)


def _connected(key: jax.Array, draw: Callable[[np.random.Generator], Graph]) -> Graph:
    rng = generator(key, "a random graph")
    for _ in range(DRAWS):
        graph = draw(rng)
        if is_connected(graph):
            return graph
    raise ValueError(
        f"no connected {graph.name} graph of n={graph.n} nodes in {DRAWS} draws: ask for more edges"
    )
