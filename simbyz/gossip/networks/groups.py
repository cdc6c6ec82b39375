"""Groups: the honest nodes of a network by the shape of their neighbourhoods."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from simbyz.gossip.networks.network import Network

# How many times the rows of its neighbourhoods a merged group may take.
ROOM = 1.5


class Group(NamedTuple):
    """Nodes that hear as many honest and as many Byzantine neighbours, and tolerate as many: one
    program for all of them. m nodes; honest nodes by their places among the h honest ones.

    A merged group has nodes that hear fewer: what is missing is filled up with the node itself, or
    the first Byzantine one, and weighs 0.
    """

    f: int
    nodes: np.ndarray  # (m,) their places
    heard: np.ndarray  # (m, k) honest neighbours
    known: np.ndarray  # (m, k + 1) the honest rows that meet here, own included, by number
    liars: np.ndarray  # (m, b) places among the Byzantine nodes
    weights: np.ndarray  # (m, 1 + k + b) own, honest, Byzantine

    @property
    def shape(self) -> tuple[int, int]:
        """(k, b)."""
        return self.heard.shape[1], self.liars.shape[1]


def groups(network: Network, *, everybody: bool = False) -> tuple[Group, ...]:
    """The honest nodes of a network by the shape of their neighbourhoods, or all nodes: then the
    Byzantine ones have the places behind the h honest ones.
    """
    h, byzantine = len(network.honest), list(network.byzantine)
    lies_at = np.zeros(network.n, bool)
    lies_at[byzantine] = True
    place = np.zeros(network.n, int)
    place[network.honest] = np.arange(h)
    place[byzantine] = np.arange(len(byzantine))
    members: dict[tuple[int, int, int], list[tuple[np.ndarray, ...]]] = {}
    first = np.searchsorted(network.graph.arcs[:, 1], np.arange(network.n))
    for node in np.concatenate([network.honest, byzantine if everybody else []]).astype(int):
        heard = network.graph.heard(node)
        weights = network.weights.arcs[first[node] : first[node] + len(heard)]
        lies = lies_at[heard]
        honest, liars = place[heard[~lies]], place[heard[lies]]
        own = place[[node]] + h * lies_at[[node]]
        row = np.concatenate([network.weights.own[[node]], weights[~lies], weights[lies]])
        shape = network.tolerated[node], len(honest), len(liars)
        known = np.sort(np.concatenate([own, honest]))
        members.setdefault(shape, []).append((own[0], honest, known, liars, row))
    return tuple(
        Group(shape[0], *(np.stack(column) for column in zip(*rows, strict=True)))
        for shape, rows in sorted(members.items())
    )


def merged(parts: Sequence[Group]) -> tuple[Group, ...]:
    """Fewer groups, of nodes that tolerate as many, which take at most `ROOM` times the rows."""
    runs: list[list[Group]] = []
    for group in sorted(parts, key=lambda group: (group.f, sum(group.shape))):
        if runs and runs[-1][0].f == group.f:
            together = [*runs[-1], group]
            most = 1 + max(one.shape[0] for one in together) + max(g.shape[1] for g in together)
            if most <= ROOM * (1 + sum(together[0].shape)):
                runs[-1].append(group)
                continue
        runs.append([group])
    return tuple(map(_joined, runs))


def _joined(parts: Sequence[Group]) -> Group:
    k, b = (max(group.shape[i] for group in parts) for i in range(2))
    columns = []
    for group in parts:
        m, (own_k, own_b) = len(group.nodes), group.shape
        filler = np.repeat(group.nodes[:, None], k - own_k, axis=1)
        honest, lies = group.weights[:, : 1 + own_k], group.weights[:, 1 + own_k :]
        columns.append(
            (
                group.nodes,
                np.hstack([group.heard, filler]),
                np.hstack([group.known, filler]),
                np.hstack([group.liars, np.zeros((m, b - own_b), int)]),
                np.hstack([honest, np.zeros(filler.shape), lies, np.zeros((m, b - own_b))]),
            )
        )
    return Group(parts[0].f, *(np.concatenate(column) for column in zip(*columns, strict=True)))
