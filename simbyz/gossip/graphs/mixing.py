"""Mixing weights: what a node's own vector and each neighbour's count for in plain gossip,

    x_i ← w_ii x_i + Σ_j w_ij x_j = x_i + Σ_j w_ij (x_j - x_i)

with w_ii = 1 - Σ_j w_ij. Where W is symmetric, it is doubly stochastic: the mean of all nodes
stays.
"""

import dataclasses

import numpy as np

from simbyz._arrays.checks import number
from simbyz.gossip.graphs.graph import Graph, require_graph


@dataclasses.dataclass(frozen=True, eq=False)
class Mixing:
    """arcs: (m,) the weight w_ij of each of a graph's arcs (j, i), in order. own: (n,) w_ii."""

    arcs: np.ndarray
    own: np.ndarray

    def __post_init__(self) -> None:
        for name in ("arcs", "own"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), float))

    def matrix(self, graph: Graph) -> np.ndarray:
        """W (n, n), w_ij at (receiver i, sender j).

        Raises:
          ValueError: the weights are of another graph.
        """
        require_arcs(graph, self.arcs)
        matrix = np.diag(self.own).astype(float)
        matrix[graph.arcs[:, 1], graph.arcs[:, 0]] = self.arcs
        return matrix


def require_arcs(graph: Graph, weights: np.ndarray) -> None:
    """Raises TypeError where there is no graph, ValueError unless each arc has a weight."""
    require_graph(graph)
    if np.shape(weights) != (len(graph.arcs),):
        raise ValueError(f"{graph.name} has {len(graph.arcs)} arcs, got weights {weights.shape}")


def of_arcs(graph: Graph, weights: np.ndarray) -> Mixing:
    """The mixing of these weights of the arcs (m,), the rest for each node's own.

    Raises:
      ValueError: another number of weights, a weight that is negative or no number, or more than 1
        in all at a node.
    """
    weights = np.asarray(weights, float)
    require_arcs(graph, weights)
    if not np.all(weights >= 0):
        raise ValueError(f"mixing weights must be at least 0, got {weights.min()}")
    sums = np.bincount(graph.arcs[:, 1], weights, minlength=graph.n)
    if np.any(sums > 1 + 1e-12):
        raise ValueError(
            f"a node's mixing weights must be at most 1 in all, got {sums.max():.4g} at node "
            f"{sums.argmax()}"
        )
    return Mixing(weights, np.maximum(1 - sums, 0))


def checked(graph: Graph, mixing: Mixing) -> Mixing:
    """The mixing itself.

    Raises:
      TypeError: it is none.
      ValueError: by `of_arcs`, or own weights that are not what the neighbours' leave of 1.
    """
    if not isinstance(mixing, Mixing):
        kind = type(mixing).__name__
        raise TypeError(f"mixing must be a Mixing, such as metropolis(graph), got {kind}")
    own = of_arcs(graph, mixing.arcs).own
    if np.shape(mixing.own) != own.shape:
        raise ValueError(
            f"{graph.name} has {graph.n} nodes, got own weights {np.shape(mixing.own)}"
        )
    wrong = np.flatnonzero(~np.isclose(mixing.own, own, atol=1e-6))
    if len(wrong):
        raise ValueError(
            "a node's own weight must be what its neighbours' leave of 1, "
            f"{own[wrong[0]]:.4g} at node {wrong[0]}, got {mixing.own[wrong[0]]:.4g}"
        )
    return mixing


def metropolis(graph: Graph) -> Mixing:
    """w_ij = 1 / (1 + max(degree of i, degree of j)), doubly stochastic on any undirected graph.

    Raises:
      ValueError: a directed graph.

    Convention: the program of Gaucher et al. (ICML 2025) counts degrees among the honest nodes and
      adds the f attackers that each of them hears: where all hear f, its weights are these.
    """
    require_graph(graph)
    if graph.directed:
        raise ValueError(f"metropolis weights are of undirected graphs, {graph.name} is directed")
    degrees = graph.degrees
    return of_arcs(graph, 1 / (1 + degrees[graph.arcs].max(axis=1)))


def uniform(graph: Graph) -> Mixing:
    """w_ij = 1 / (1 + degree of i): the plain mean of a neighbourhood, of directed graphs too.

    Doubly stochastic where all degrees are equal; else each row's sum is 1, and no more.
    """
    require_graph(graph)
    return of_arcs(graph, 1 / (1 + graph.degrees[graph.arcs[:, 1]]))


def max_degree(graph: Graph) -> Mixing:
    """w_ij = 1 / (1 + the largest degree), doubly stochastic on any undirected graph."""
    require_graph(graph)
    return of_arcs(graph, np.full(len(graph.arcs), 1 / (1 + graph.degrees.max(initial=0))))


def lazy(mixing: Mixing) -> Mixing:
    """(W + I) / 2: no eigenvalue is negative."""
    return Mixing(mixing.arcs / 2, (1 + mixing.own) / 2)


def scaled(graph: Graph, mixing: Mixing, step: float) -> Mixing:
    """The weights of neighbours times a communication step, the rest for each node's own.

    Gaucher et al. take 1 / λ_max of the honest nodes' Laplacian of these weights.

    Raises:
      ValueError: as `of_arcs`.
    """
    number("step", step, "at least 0", lambda one: one >= 0)
    return of_arcs(graph, step * mixing.arcs)
