"""Graph: who hears whom, as a list of arcs; from edges, matrices and networkx, and back."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from simbyz._arrays.checks import flag, integer

if TYPE_CHECKING:
    import networkx


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """Nodes 0 to n - 1, and arcs between them.

    n: nodes. arcs: (m, 2) ints, each (sender, receiver), a pair once; kept in the order of
    receivers, then of senders. An edge of an undirected graph is two arcs. name: for tables.

    Raises:
      TypeError: arcs that are no ints.
      ValueError: a node that is none, a self-loop, or an arc that is given twice.
    """

    n: int
    arcs: np.ndarray
    name: str = "graph"

    def __post_init__(self) -> None:
        if integer("n", self.n) < 1:
            raise ValueError(f"a graph needs n >= 1 nodes, got n={self.n}")
        arcs = np.asarray(self.arcs)
        if arcs.size == 0:
            arcs = np.zeros((0, 2), int)
        if arcs.dtype.kind not in "iu":
            raise TypeError(f"edges must be pairs of ints, got {arcs.dtype}")
        if arcs.ndim != 2 or arcs.shape[1] != 2:
            raise ValueError(f"edges must be pairs (m, 2), got shape {arcs.shape}")
        arcs = arcs.astype(int)  # n times a node of 8 bits would not fit into these
        outside = arcs[(arcs < 0).any(axis=1) | (arcs >= self.n).any(axis=1)]
        if len(outside):
            raise ValueError(f"nodes are from 0 to {self.n - 1}, got the edge {_pair(outside)}")
        loops = arcs[arcs[:, 0] == arcs[:, 1]]
        if len(loops):
            raise ValueError(
                "a node knows its own vector without an edge: take out the self-loop "
                f"{_pair(loops)}"
            )
        arcs = arcs[np.lexsort((arcs[:, 0], arcs[:, 1]))]
        twice = arcs[1:][(arcs[1:] == arcs[:-1]).all(axis=1)]
        if len(twice):
            raise ValueError(f"an edge is given once, got {_pair(twice)} twice")
        object.__setattr__(self, "arcs", arcs)

    @property
    def directed(self) -> bool:
        """Whether some arc has none back."""
        return not np.array_equal(_codes(self.n, self.arcs), _codes(self.n, self.arcs[:, ::-1]))

    @property
    def degrees(self) -> np.ndarray:
        """How many neighbours each node hears, (n,)."""
        return np.bincount(self.arcs[:, 1], minlength=self.n)

    def heard(self, node: int) -> np.ndarray:
        """The neighbours that a node hears, in increasing order.

        Raises:
          ValueError: a node that is none.
        """
        if not 0 <= integer("node", node) < self.n:
            raise ValueError(f"nodes are from 0 to {self.n - 1}, got {node}")
        first, last = np.searchsorted(self.arcs[:, 1], [node, node + 1])
        return self.arcs[first:last, 0]

    def adjacency(self) -> np.ndarray:
        """The matrix (n, n) of bools with a True at (receiver, sender)."""
        matrix = np.zeros((self.n, self.n), bool)
        matrix[self.arcs[:, 1], self.arcs[:, 0]] = True
        return matrix

    def among(self, nodes: Iterable[int]) -> "Graph":
        """The graph of some of the nodes, numbered anew in increasing order, with their arcs.

        Raises:
          TypeError: nodes that are no ints, such as a mask.
          ValueError: no node, or one that is none.
        """
        chosen = np.unique(np.fromiter((integer("node", node) for node in nodes), int))
        if outside := [int(node) for node in chosen if not 0 <= node < self.n]:
            raise ValueError(f"nodes are from 0 to {self.n - 1}, got {outside[0]}")
        number = np.full(self.n, -1)
        number[chosen] = np.arange(len(chosen))
        arcs = number[self.arcs]
        return Graph(len(chosen), arcs[(arcs >= 0).all(axis=1)], self.name)


def from_edges(
    n: int, edges: Iterable[tuple[int, int]], *, directed: bool = False, name: str = "edges"
) -> Graph:
    """The graph of a list of edges; directed: each is (sender, receiver) and nothing goes back.

    Raises:
      TypeError, ValueError: see `Graph`.
    """
    if not isinstance(edges, Iterable):
        raise TypeError(f"edges must be pairs of nodes, got {edges!r}")
    listed = list(edges)
    try:
        pairs = np.asarray(listed)
    except ValueError as error:
        wrong = next(edge for edge in listed if np.shape(edge) != (2,))
        raise ValueError(f"an edge is a pair of nodes, got {wrong!r}") from error
    if not flag("directed", directed) and pairs.size and pairs.ndim == 2:
        pairs = np.concatenate([pairs, pairs[:, ::-1]])
    return Graph(n, pairs, name)


def from_adjacency(matrix: np.ndarray, *, directed: bool = False, name: str = "adjacency") -> Graph:
    """The graph with an arc from j to i where matrix[i, j] is not 0.

    Raises:
      ValueError: no square matrix of numbers, a self-loop, or one that is not symmetric, unless
        `directed`.
    """
    directed = flag("directed", directed)
    try:
        given = np.asarray(matrix)
    except ValueError as error:
        raise ValueError("an adjacency matrix is (n, n), got rows of unequal length") from error
    if given.dtype.kind not in "biuf" or np.isnan(given).any():
        raise ValueError("an adjacency matrix is of numbers, got one with others in it")
    linked = given != 0
    if linked.ndim != 2 or linked.shape[0] != linked.shape[1]:
        raise ValueError(f"an adjacency matrix is (n, n), got {linked.shape}")
    one_way = np.argwhere(linked & ~linked.T)
    if len(one_way) and not directed:
        receiver, sender = one_way[0]
        raise ValueError(
            f"the matrix is not symmetric: {receiver} hears {sender} but not the other way round; "
            "directed=True means that"
        )
    return Graph(len(linked), np.argwhere(linked)[:, ::-1], name)


def from_networkx(graph: "networkx.Graph", *, name: str = "networkx") -> Graph:
    """The graph of a networkx graph, its nodes numbered in their order; weights are not read.

    Raises:
      TypeError: it is none.
      ValueError: self-loops, or edges that are there several times.
    """
    asked = ("nodes", "edges", "is_directed")
    if isinstance(graph, type) or not all(hasattr(graph, name) for name in asked):
        raise TypeError(f"from_networkx takes a networkx graph, got {type(graph).__name__}")
    number = {node: i for i, node in enumerate(graph.nodes)}
    edges = [(number[edge[0]], number[edge[1]]) for edge in graph.edges]
    return from_edges(len(number), edges, directed=graph.is_directed(), name=name)


def to_networkx(graph: Graph) -> "networkx.Graph":
    """The graph as a networkx `Graph`, or a `DiGraph` with edges from senders to receivers.

    Raises:
      ImportError: networkx is not installed; it is the extra `gossip`.
    """
    try:
        import networkx
    except ImportError as error:
        raise ImportError("to_networkx needs networkx: pip install 'simbyz[gossip]'") from error
    require_graph(graph)
    made: Any = networkx.DiGraph() if graph.directed else networkx.Graph()
    made.add_nodes_from(range(graph.n))
    made.add_edges_from(graph.arcs.tolist())
    return made


def require_graph(graph: Any) -> None:
    """Raises TypeError where a `Graph` is asked for, and something else is given."""
    if not isinstance(graph, Graph):
        raise TypeError(
            "graph must be a Graph, such as simbyz.gossip.graphs.ring(20) gives, or from_networkx "
            f"of that of networkx, got {type(graph).__name__}"
        )


def _pair(arcs: np.ndarray) -> str:
    return f"({arcs[0, 0]}, {arcs[0, 1]})"


def _codes(n: int, arcs: np.ndarray) -> np.ndarray:
    return np.sort(arcs[:, 0] * n + arcs[:, 1])
