"""Graphs: kinds, weights, figures, and where Byzantine nodes stand."""

from simbyz.gossip.graphs.figures import (
    algebraic_connectivity,
    fiedler_vector,
    is_connected,
    laplacian,
    spectral_gap,
)
from simbyz.gossip.graphs.graph import (
    Graph,
    from_adjacency,
    from_edges,
    from_networkx,
    to_networkx,
)
from simbyz.gossip.graphs.kinds import (
    complete,
    erdos_renyi,
    random_geometric,
    regular,
    ring,
    small_world,
    star,
    torus,
    two_worlds,
)
from simbyz.gossip.graphs.mixing import Mixing, lazy, max_degree, metropolis, scaled, uniform
from simbyz.gossip.graphs.placement import at_most, at_random, most_central

__all__ = [
    "Graph",
    "Mixing",
    "algebraic_connectivity",
    "at_most",
    "at_random",
    "complete",
    "erdos_renyi",
    "fiedler_vector",
    "from_adjacency",
    "from_edges",
    "from_networkx",
    "is_connected",
    "laplacian",
    "lazy",
    "max_degree",
    "metropolis",
    "most_central",
    "random_geometric",
    "regular",
    "ring",
    "scaled",
    "small_world",
    "spectral_gap",
    "star",
    "to_networkx",
    "torus",
    "two_worlds",
    "uniform",
]
