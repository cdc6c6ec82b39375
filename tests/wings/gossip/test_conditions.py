"""What a rule asks of a network, by connectivities that are known in closed form."""

import functools

import jax
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.gossip import (
    GOSSIP_RULES,
    GossipConfig,
    Network,
    condition_of,
    graphs,
    make_gossip,
    robustness_condition,
    rules,
)
from simbyz.tasks.problems import quadratic

SPECTRAL = {
    "self_centred_clipping",
    "oracle_clipping",
    "clipped_gossip",
    "clipped_gossip_plus",
    "gts",
    "remove_then_clip",
}
RING = Network(graphs.ring(9, 4), (4,))
TASK = quadratic(jax.random.key(0), 8, 3).task


def with_liars(graph, b):
    """A graph of honest nodes, and b more nodes that all of them hear."""
    n = graph.n
    arcs = [(n + i, node) for i in range(b) for node in range(n)]
    arcs = np.array([*graph.arcs.tolist(), *arcs, *[arc[::-1] for arc in arcs]])
    return Network(graphs.Graph(n + b, arcs), tuple(range(n, n + b)))


@pytest.mark.parametrize(
    "graph, connectivity",
    [
        (graphs.complete(9), 9),
        (graphs.star(6), 1),
        (graphs.ring(10, 4), 4 - 2 * np.cos(np.pi / 5) - 2 * np.cos(2 * np.pi / 5)),
        # Twice the friends of each in the other world, exactly.
        (graphs.two_worlds(16, 8 * 2), 4),
        (graphs.two_worlds(26, 13 * 4), 8),
        (graphs.two_worlds(26, 13 * 8), 16),
    ],
)
def test_twice_the_byzantine_neighbours_are_less_than_the_connectivity(graph, connectivity):
    most = int(np.ceil(connectivity / 2))
    for b in range(1, most + 2):
        found = robustness_condition(with_liars(graph, b))
        assert found.holds == (2 * b < connectivity)
        sign = "<" if found.holds else ">="
        assert f"2b = {2 * b} {sign} μ_2 = {connectivity:.3g}" in found.words


def test_who_asks_for_it():
    for name, rule in GOSSIP_RULES.items():
        assert condition_of(rule, RING).holds == (name not in SPECTRAL)
        assert condition_of(rule, Network(RING.graph)).holds
        assert condition_of(rule, with_liars(graphs.complete(9), 4)).holds
    assert not condition_of(functools.partial(rules.gts, byzantine_weight=0.1), RING).holds
    for rule in (aggregators.monna, aggregators.trimmed_mean, lambda rows, f: rows[0]):
        assert condition_of(rule, RING).holds


@pytest.mark.parametrize("name", sorted(SPECTRAL))
def test_a_network_beyond_it_is_refused_in_a_line(name):
    rule = GOSSIP_RULES[name]
    if name == "self_centred_clipping":
        rule = functools.partial(rule, radius=1.0)
    directed = [(i, j) for i in range(9) for j in range(9) if i != j and (i, j) != (0, 1)]
    one_way = Network(graphs.from_edges(9, directed, directed=True), (8,))
    for network, words in ((RING, "but 2b = 2 >= μ_2 = "), (one_way, "graph is directed")):
        with pytest.raises(ValueError, match=f"{name} needs .* {words}") as error:
            make_gossip(GossipConfig(network), TASK, rule, attacks.zero)
        assert "beyond_the_bound=True" in str(error.value) and "\n" not in str(error.value)
        make_gossip(GossipConfig(network, beyond_the_bound=True), TASK, rule, attacks.zero)
    # Who is not strict about a network has said so.
    loose = Network(RING.graph, RING.byzantine, strict=False)
    make_gossip(GossipConfig(loose), TASK, rule, attacks.zero)
    in_turns = [with_liars(graphs.complete(8), 1), Network(graphs.ring(9, 4), (8,))]
    with pytest.raises(ValueError, match="2b = 2 >= μ_2"):
        make_gossip(GossipConfig(in_turns), TASK, rule, attacks.zero)
