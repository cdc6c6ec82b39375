"""A network refuses what is none in a line, and its groups hold each neighbourhood once."""

import jax
import numpy as np
import pytest

from simbyz.gossip import GossipConfig, Network, Sampled, graphs
from simbyz.gossip.networks.groups import groups

RING = graphs.ring(8, 4)


def weights(each, own=None):
    """So much for every neighbour on the ring, and for a node itself."""
    return graphs.Mixing(np.full(32, each), np.full(8, 1 - 4 * each if own is None else own))


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda: Network(graphs.star(5), (0,)), "not connected without the Byzantine ones"),
        (lambda: Network(graphs.from_edges(4, [(0, 1), (2, 3)])), "not connected"),
        (lambda: Network(RING, (0, 1), f=1), r"node 2 tolerates f=1 .* and hears 2, \(0, 1\)"),
        (lambda: Network(RING, (8,)), "from 0 to 7"),
        (lambda: Network(RING, (1, 1)), "given once"),
        (lambda: Network(RING, range(8)), "leave one that is honest"),
        (lambda: Network(RING, f=-1), "at least 0"),
        (lambda: Network(RING, f=[1, 2]), "one for each of 8 nodes"),
        (lambda: Network(RING, mixing=graphs.uniform(graphs.ring(8))), "32 arcs, got weights"),
        (lambda: Network(RING, mixing=weights(np.nan)), "at least 0, got nan"),
        (lambda: Network(RING, mixing=weights(-0.1)), "at least 0, got -0.1"),
        (lambda: Network(RING, mixing=weights(0.9)), "at most 1 in all, got 3.6 at node 0"),
        (lambda: Network(RING, mixing=weights(0.1, own=0.9)), "leave of 1, 0.6 at node 0, got 0.9"),
        (
            lambda: Network(RING, mixing=graphs.Mixing(np.full(32, 0.1), np.full(3, 0.6))),
            r"own weights \(3,\)",
        ),
        (lambda: Sampled(5, 5, 1), "from 1 to n - 1 = 4"),
        (lambda: Sampled(5, 2, -1), "at least 0"),
        (lambda: GossipConfig([Network(RING), Network(RING, (1,))]), "the same nodes"),
        (lambda: GossipConfig(Network(RING), rounds=0), "at least 1"),
        (lambda: GossipConfig(Network(RING), exchange="never"), "after, before, gradients"),
        (lambda: GossipConfig(Network(RING), tracking=True), "momentum=False"),
        (lambda: GossipConfig(Sampled(8, 3, 1), certify=True), "not sampled"),
    ],
)
def test_what_is_no_network_is_refused(make, line):
    with pytest.raises(ValueError, match=line) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda: Network("ring"), "got 'ring'"),
        (lambda: GossipConfig("ring"), "got 'ring'"),
        (lambda: Network(RING, 3), r"numbers of nodes, such as \(3,\), got 3"),
        (lambda: Network(RING, ("a",)), "an int, got 'a'"),
        (lambda: Network(RING, (1,), f=1.5), "an int, got 1.5"),
        (lambda: Network(RING, (1,), f="1"), "an int, got '1'"),
        (lambda: Network(RING, mixing=np.eye(8)), "a Mixing, .* got ndarray"),
        (lambda: GossipConfig(Network(RING), study="no"), "study must be True or False, got 'no'"),
        (lambda: GossipConfig(Network(RING), beyond_the_bound="yes"), "True or False, got 'yes'"),
    ],
)
def test_other_kinds_are_refused(make, line):
    with pytest.raises(TypeError, match=line) as error:
        make()
    assert "\n" not in str(error.value)


def test_not_strict_runs_what_breaks_the_assumptions():
    assert Network(graphs.star(5), (0,), strict=False).tolerated == (1,) * 5
    assert Network(RING, (0,), f=np.full(8, 2)).tolerated == (2,) * 8
    assert Network(RING, (0,), f=np.array(2)).tolerated == (2,) * 8
    of_lists = graphs.Mixing([0.1] * 32, [0.6] * 8)
    assert Network(RING, (0,), mixing=of_lists).byzantine_weight.max() == pytest.approx(0.1)
    assert Network(RING, (0, 1), f=1, strict=False).byzantine_weight.max() == pytest.approx(0.4)


def test_groups_are_the_neighbourhoods():
    graph = graphs.erdos_renyi(jax.random.key(3), 14, 0.4)
    network = Network(graph, graphs.at_most(jax.random.key(0), graph, 3, b=2))
    seen = []
    for group in groups(network):
        for place, heard, known, liars, weights in zip(*group[1:], strict=True):
            node = network.honest[place]
            neighbours = set(network.honest[heard]) | {network.byzantine[i] for i in liars}
            assert neighbours == set(graph.heard(node)) and group.f == 2
            assert set(network.honest[known]) == {node, *network.honest[heard]}
            matrix = network.weights.matrix(graph)
            order = [node, *network.honest[heard], *[network.byzantine[i] for i in liars]]
            np.testing.assert_array_equal(weights, matrix[node, order])
            seen.append(place)
    assert sorted(seen) == list(range(11))
