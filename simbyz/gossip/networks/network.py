"""Network: a graph, who of its nodes is Byzantine, what each node tolerates, and mixing weights."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from simbyz._arrays.checks import flag, integer
from simbyz.gossip.graphs.figures import is_connected
from simbyz.gossip.graphs.graph import Graph
from simbyz.gossip.graphs.mixing import Mixing, checked, metropolis, uniform


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """Network: a graph of nodes, some of them Byzantine, and the weights at each.

    graph: of all nodes. byzantine: numbers of the Byzantine ones. f: Byzantine neighbours that a
    node's rule is told to tolerate: of every node, or a list of n; None: as many as the node that
    hears most has. mixing: the weights of `simbyz.gossip.graphs.mixing`; Metropolis' if None, and
    a neighbourhood's plain mean where the graph is directed. strict: whether to refuse honest nodes
    that are not connected without the others, and a node that hears more Byzantine ones than it
    tolerates; False runs that too.

    Raises:
      TypeError: something is of another kind than asked for.
      ValueError: a Byzantine node that is none or given twice; nobody is honest; an f that is
        negative or not one for each node; a mixing that is not of this graph; what `strict`
        refuses.
    """

    graph: Graph
    byzantine: tuple[int, ...] = ()
    f: int | Sequence[int] | None = None
    mixing: Mixing | None = None
    strict: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.graph, Graph):
            raise TypeError(
                "graph must be a Graph, such as simbyz.gossip.graphs.ring(20) gives, "
                f"got {self.graph!r}"
            )
        object.__setattr__(self, "byzantine", nodes_of(self.graph.n, self.byzantine))
        given = self.widths[1] if self.f is None else self.f
        several = isinstance(given, Sequence) or (isinstance(given, np.ndarray) and given.ndim > 0)
        several = several and not isinstance(given, str)
        tolerated: list[Any] = list(given) if several else [given] * self.n  # type: ignore[arg-type]
        if len(tolerated) != self.n:
            raise ValueError(f"f is one number, or one for each of {self.n} nodes, got {given}")
        if any(integer("f", one) < 0 for one in tolerated):
            raise ValueError(f"f must be at least 0, got {given}")
        object.__setattr__(self, "f", tuple(map(int, tolerated)))
        weights = self.mixing
        if weights is None:
            weights = uniform(self.graph) if self.graph.directed else metropolis(self.graph)
        object.__setattr__(self, "mixing", checked(self.graph, weights))
        if flag("strict", self.strict):
            self._refuse()

    def _refuse(self) -> None:
        if not is_connected(self.honest_graph):
            raise ValueError(
                f"the honest nodes of {self.graph.name} are not connected without the Byzantine "
                f"ones {self.byzantine}: place these elsewhere, or strict=False"
            )
        for node in self.honest:
            liars = self.liars_of(node)
            if len(liars) > self.tolerated[node]:
                raise ValueError(
                    f"node {node} tolerates f={self.tolerated[node]} Byzantine neighbours and "
                    f"hears {len(liars)}, {tuple(map(int, liars))}: raise f, place them elsewhere, "
                    "or strict=False"
                )

    @property
    def n(self) -> int:
        return self.graph.n

    @property
    def tolerated(self) -> tuple[int, ...]:
        """f of each node, (n,)."""
        return self.f  # type: ignore[return-value]

    @property
    def weights(self) -> Mixing:
        return self.mixing  # type: ignore[return-value]

    @functools.cached_property
    def honest(self) -> np.ndarray:
        """Numbers of the h honest nodes, in increasing order."""
        return np.setdiff1d(np.arange(self.graph.n), self.byzantine)

    @functools.cached_property
    def honest_graph(self) -> Graph:
        """The graph of the honest nodes alone, numbered anew from 0 to h - 1."""
        return self.graph.among(self.honest)

    @functools.cached_property
    def widths(self) -> tuple[int, int]:
        """The most honest and the most Byzantine neighbours of an honest node."""
        return self.widths_of(self.honest)

    def widths_of(self, nodes: Iterable[int]) -> tuple[int, int]:
        """The most honest and the most Byzantine neighbours of any of these nodes."""
        liars = [len(self.liars_of(node)) for node in nodes]
        return int(max(self.graph.degrees[list(nodes)] - liars)), max(liars)

    def liars_of(self, node: int) -> np.ndarray:
        """The Byzantine neighbours that a node hears."""
        heard = self.graph.heard(node)
        return heard[np.isin(heard, self.byzantine)]

    @functools.cached_property
    def byzantine_weight(self) -> np.ndarray:
        """The mixing weight of the Byzantine neighbours of each honest node, (h,)."""
        from_liars = np.isin(self.graph.arcs[:, 0], self.byzantine)
        sums = np.bincount(
            self.graph.arcs[from_liars, 1], self.weights.arcs[from_liars], minlength=self.n
        )
        return sums[self.honest]


def nodes_of(n: int, byzantine: Iterable[int]) -> tuple[int, ...]:
    if not isinstance(byzantine, Iterable):
        raise TypeError(f"byzantine must be the numbers of nodes, such as (3,), got {byzantine!r}")
    nodes = tuple(sorted(integer("byzantine", node) for node in byzantine))
    if outside := [node for node in nodes if not 0 <= node < n]:
        raise ValueError(f"nodes are from 0 to {n - 1}, got the Byzantine node {outside[0]}")
    if len(set(nodes)) < len(nodes):
        raise ValueError(f"a Byzantine node is given once, got {nodes}")
    if len(nodes) == n:
        raise ValueError(f"all n={n} nodes are Byzantine: leave one that is honest")
    return nodes
