"""Figures of a graph: connected or not, algebraic connectivity, spectral gap, Fiedler vector.

Spectra are of dense matrices, n² numbers on the host: for n of some thousands.
"""

import numpy as np

from simbyz.gossip.graphs.graph import Graph, require_graph
from simbyz.gossip.graphs.mixing import Mixing, require_arcs


def is_connected(graph: Graph) -> bool:
    """Whether what each node knows reaches all others, along the arcs."""
    require_graph(graph)
    return _reaches_all(graph, graph.arcs) and _reaches_all(graph, graph.arcs[:, ::-1])


def laplacian(graph: Graph, mixing: Mixing | None = None) -> np.ndarray:
    """D - A (n, n), of weights 1, or of a mixing's weights.

    Raises:
      ValueError: a directed graph, or a mixing of another one.
    """
    require_graph(graph)
    if graph.directed:
        raise ValueError(f"a Laplacian is of undirected graphs, {graph.name} is directed")
    matrix = np.zeros((graph.n, graph.n))
    weights = np.ones(len(graph.arcs)) if mixing is None else mixing.arcs
    require_arcs(graph, weights)
    matrix[graph.arcs[:, 1], graph.arcs[:, 0]] = -weights
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


def algebraic_connectivity(graph: Graph, mixing: Mixing | None = None) -> float:
    """μ_2, the second least eigenvalue of the Laplacian: 0 where the graph is not connected."""
    require_graph(graph)
    return 0.0 if graph.n < 2 else float(np.linalg.eigvalsh(laplacian(graph, mixing))[1])


def fiedler_vector(graph: Graph) -> np.ndarray:
    """The unit eigenvector (n,) of μ_2: its signs are the two sides of the graph's bottleneck.

    Of its two signs the one in which node 0 is not negative. A graph of one node has the vector 0.
    """
    require_graph(graph)
    if graph.n < 2:
        return np.zeros(graph.n)
    vector: np.ndarray = np.linalg.eigh(laplacian(graph))[1][:, 1]
    return vector if vector[0] >= 0 else -vector


def spectral_gap(graph: Graph, mixing: Mixing) -> float:
    """1 - max(|λ_2|, |λ_n|) of the mixing matrix W: a round of plain gossip shrinks the distance
    to consensus by 1 minus that, or more.

    Raises:
      ValueError: W is not symmetric.
    """
    matrix = mixing.matrix(graph)
    if not np.allclose(matrix, matrix.T):
        raise ValueError(f"a spectral gap is of symmetric weights, those of {graph.name} are not")
    return 0.0 if graph.n < 2 else float(1 - np.sort(np.abs(np.linalg.eigvalsh(matrix)))[-2])


def _reaches_all(graph: Graph, arcs: np.ndarray) -> bool:
    reached = np.arange(graph.n) == 0
    while True:
        new = reached.copy()
        new[arcs[reached[arcs[:, 0]], 1]] = True
        if np.array_equal(new, reached):
            return bool(reached.all())
        reached = new
