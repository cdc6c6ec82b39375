"""Graphs have the edges that they should, weights are doubly stochastic, figures are those of
networkx, and what is no graph is refused in a line.
"""

import jax
import networkx
import numpy as np
import pytest

from simbyz.gossip import Sampled, condition_of, graphs, robustness_condition, rules
from simbyz.gossip.graphs import mixing
from tests.reference import gossip as reference

KEY = jax.random.key(1)
KINDS = {
    "complete": graphs.complete(7),
    "star": graphs.star(6),
    "ring": graphs.ring(9, 4),
    "torus": graphs.torus(3, 4),
    "two_worlds": graphs.two_worlds(9, 4),
    "erdos_renyi": graphs.erdos_renyi(KEY, 12, 0.3),
    "random_geometric": graphs.random_geometric(KEY, 12, 0.5),
    "regular": graphs.regular(KEY, 12, 3),
    "small_world": graphs.small_world(KEY, 12, 4, 0.3),
}
THEIRS = {
    "complete": networkx.complete_graph(7),
    "star": networkx.star_graph(5),
    "ring": networkx.circulant_graph(9, [1, 2]),
    "torus": networkx.convert_node_labels_to_integers(
        networkx.grid_2d_graph(3, 4, periodic=True), ordering="sorted"
    ),
}


@pytest.mark.parametrize("name", THEIRS)
def test_regular_kinds_are_those_of_networkx(name):
    theirs = networkx.to_numpy_array(THEIRS[name], nodelist=range(KINDS[name].n))
    assert np.array_equal(KINDS[name].adjacency(), theirs)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_connected_undirected_and_goes_to_networkx_and_back(name):
    graph = KINDS[name]
    theirs = graphs.to_networkx(graph)
    assert graphs.is_connected(graph) and networkx.is_connected(theirs) and not graph.directed
    assert np.array_equal(graphs.from_networkx(theirs).arcs, graph.arcs)
    assert np.array_equal(graphs.from_adjacency(graph.adjacency()).arcs, graph.arcs)
    assert graph.degrees.tolist() == [theirs.degree(i) for i in range(graph.n)]
    np.testing.assert_allclose(
        graphs.algebraic_connectivity(graph), networkx.laplacian_spectrum(theirs)[1], atol=1e-9
    )


@pytest.mark.parametrize("name", KINDS)
def test_weights_are_doubly_stochastic(name):
    graph = KINDS[name]
    for made in (graphs.metropolis, graphs.max_degree, lambda g: graphs.lazy(graphs.metropolis(g))):
        matrix = made(graph).matrix(graph)
        assert matrix.min() >= 0
        np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=1e-12)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(
        graphs.metropolis(graph).matrix(graph), reference.metropolis(graph.adjacency().tolist())
    )
    np.testing.assert_allclose(graphs.uniform(graph).matrix(graph).sum(axis=1), 1)


def test_regular_graphs_have_one_degree_and_keys_decide():
    drawn = [graphs.regular(jax.random.key(seed), 10, 3) for seed in (1, 1, 2)]
    assert all(set(graph.degrees) == {3} for graph in drawn)
    assert np.array_equal(drawn[0].arcs, drawn[1].arcs)
    assert not np.array_equal(drawn[0].arcs, drawn[2].arcs)
    assert set(graphs.regular(KEY, 6, 5).degrees) == {5}


def test_two_worlds_have_as_many_links_and_a_small_world_as_many_edges():
    graph = graphs.two_worlds(8, 6)
    across = [(a, b) for a, b in graph.arcs if a < 4 <= b]
    assert len(across) == 6 and len(graph.arcs) == 2 * (6 + 2 * 6)
    assert len(graphs.small_world(KEY, 12, 4, 1.0).arcs) == 2 * 24


def test_figures():
    graph = graphs.two_worlds(8, 1)
    vector = graphs.fiedler_vector(graph)
    assert (vector[:4] > 0).all() and (vector[4:] < 0).all()
    np.testing.assert_allclose(
        graphs.laplacian(graph) @ vector, graphs.algebraic_connectivity(graph) * vector, atol=1e-9
    )
    # W = J / n on a complete graph: one round is consensus.
    whole = graphs.complete(5)
    np.testing.assert_allclose(graphs.spectral_gap(whole, graphs.metropolis(whole)), 1)
    # λ_k = (1 + 2 cos(2πk/n)) / 3 on a ring.
    ring = graphs.ring(10)
    expected = 1 - (1 + 2 * np.cos(2 * np.pi / 10)) / 3
    np.testing.assert_allclose(graphs.spectral_gap(ring, graphs.metropolis(ring)), expected)


def test_where_byzantine_nodes_stand():
    graph = graphs.two_worlds(12, 2)
    central = networkx.betweenness_centrality(graphs.to_networkx(graph))
    most = sorted(central, key=lambda i: (-round(central[i], 9), i))[:2]
    assert graphs.most_central(graph, 2) == tuple(sorted(most))
    assert len(graphs.at_random(KEY, graph, 3)) == 3
    ring = graphs.ring(20, 4)
    placed = graphs.at_most(KEY, ring, 4, b=1)
    assert max(np.isin(ring.heard(i), placed).sum() for i in range(20) if i not in placed) == 1
    with pytest.raises(ValueError, match="no place found for 10 Byzantine nodes"):
        graphs.at_most(KEY, ring, 10, b=1)


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda: graphs.from_edges(3, [(0, 1), (1, 1)]), r"self-loop \(1, 1\)"),
        (
            lambda: graphs.from_edges(3, [(0, 1), (1, 0)]),
            r"given once, got \(1, 0\) twice|\(0, 1\)",
        ),
        (lambda: graphs.from_edges(3, [(0, 3)]), "from 0 to 2"),
        (lambda: graphs.from_edges(3, [(0, 1, 2)]), "pairs"),
        (lambda: graphs.from_edges(3, [(0, 1), (2,)]), r"a pair of nodes, got \(2,\)"),
        (lambda: graphs.from_adjacency(np.full((2, 2), np.nan)), "of numbers"),
        (lambda: graphs.from_adjacency("ring"), "of numbers"),
        (lambda: graphs.from_edges(0, []), "n >= 1"),
        (lambda: graphs.from_adjacency(np.eye(3)), "self-loop"),
        (lambda: graphs.from_adjacency(np.triu(np.ones((3, 3)), 1)), "not symmetric: 0 hears 1"),
        (lambda: graphs.from_adjacency(np.ones((2, 3))), r"\(n, n\), got \(2, 3\)"),
        (lambda: graphs.from_adjacency([[0, 1], [1]]), r"\(n, n\), got rows of unequal length"),
        (lambda: graphs.random_geometric(KEY, -2, 0.5), "n >= 1 nodes, got n=-2"),
        (lambda: graphs.scaled(graphs.ring(5), graphs.uniform(graphs.ring(5)), -1), "at least 0"),
        (lambda: graphs.ring(5, 3), "even degree"),
        (lambda: graphs.torus(2, 5), "3 rows"),
        (lambda: graphs.two_worlds(8, 17), "links from 1 to 16"),
        (lambda: graphs.regular(KEY, 5, 3), "n · degree even"),
        (lambda: graphs.erdos_renyi(KEY, 20, 0.01), "no connected erdos_renyi graph"),
        (lambda: graphs.erdos_renyi(KEY, 20, 1.5), "from 0 to 1"),
        (lambda: graphs.random_geometric(KEY, 20, 0), "positive"),
        (lambda: graphs.at_random(KEY, graphs.ring(5), 5), "from 0 to n - 1 = 4"),
        (lambda: graphs.metropolis(graphs.from_edges(2, [(0, 1)], directed=True)), "undirected"),
        (lambda: graphs.scaled(graphs.ring(5), graphs.uniform(graphs.ring(5)), 2), "at most 1"),
        (lambda: mixing.of_arcs(graphs.ring(3), np.full(6, np.nan)), "at least 0"),
        (lambda: graphs.ring(5).among([-1, 0]), "nodes are from 0 to 4, got -1"),
        (lambda: graphs.ring(5).heard(5), "nodes are from 0 to 4, got 5"),
        (lambda: graphs.uniform(graphs.ring(5)).matrix(graphs.ring(7)), "14 arcs, got weights"),
        (
            lambda: graphs.laplacian(graphs.ring(5), graphs.uniform(graphs.ring(7))),
            r"ring has 10 arcs, got weights \(14,\)",
        ),
    ],
)
def test_what_is_no_graph_is_refused(make, line):
    with pytest.raises(ValueError, match=line) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint64])
def test_arcs_may_be_of_any_ints(dtype):
    # 100 nodes have arcs of 8 bits, but no number of an arc that fits into these.
    arcs = np.array([(i, j) for i in range(100) for j in range(100) if i != j], dtype)
    assert not graphs.Graph(100, arcs).directed and graphs.Graph(100, arcs[1:]).directed
    assert graphs.from_edges(300, np.array([[0, 1]], dtype), directed=True).directed


def test_directed_graphs_hear_along_the_arcs():
    graph = graphs.from_edges(3, [(0, 1), (1, 2), (2, 0)], directed=True)
    assert graph.directed and graph.heard(1).tolist() == [0] and graphs.is_connected(graph)
    assert graphs.to_networkx(graph).has_edge(0, 1)
    assert not graphs.is_connected(graphs.from_edges(3, [(0, 1), (1, 2)], directed=True))


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda: graphs.from_edges(3, [("a", "b")]), "pairs of ints, got <U1"),
        (lambda: graphs.from_edges(3, [(0.0, 1.0)]), "pairs of ints, got float64"),
        (lambda: graphs.from_edges(3, None), "pairs of nodes, got None"),
        (lambda: graphs.star("5"), "an int, got '5'"),
        (lambda: graphs.erdos_renyi(0, 8, 0.5), "a random graph needs a key .* got 0"),
        (lambda: graphs.at_random(0, graphs.ring(5), 1), "a placement needs a key .* got 0"),
        (lambda: graphs.erdos_renyi(KEY, 8, None), "probability must be a number, got None"),
        (lambda: graphs.small_world(KEY, 8, 2, "1"), "rewired must be a number, got '1'"),
        (lambda: graphs.random_geometric(KEY, 8, "1"), "radius must be a number, got '1'"),
        (lambda: robustness_condition(Sampled(5, 3, 1)), r"a Network, .* got Sampled\(n=5"),
        (lambda: condition_of(rules.gts, Sampled(5, 3, 1)), r"a Network, .* got Sampled\(n=5"),
        (lambda: graphs.from_networkx([(0, 1)]), "a networkx graph, got list"),
        (lambda: graphs.from_networkx(networkx.Graph), "a networkx graph, got type"),
        (lambda: graphs.from_adjacency(1 - np.eye(3), directed="no"), "directed must be True"),
        (lambda: graphs.ring(5).among([0.5]), "node must be an int, got 0.5"),
        (lambda: graphs.ring(5).among([True] * 5), "node must be an int, got True"),
        (lambda: graphs.ring(5).among("12"), "node must be an int, got '1'"),
        (lambda: graphs.metropolis(networkx.path_graph(3)), "a Graph, .* from_networkx .* Graph$"),
        (lambda: graphs.uniform(np.eye(3)), "graph must be a Graph, .* got ndarray"),
        (lambda: graphs.max_degree(5), "graph must be a Graph, .* got int"),
        (lambda: graphs.scaled(graphs.ring(5), graphs.uniform(graphs.ring(5)), "1"), "a number"),
        (lambda: graphs.laplacian(None), "graph must be a Graph, .* got NoneType"),
        (lambda: graphs.algebraic_connectivity([]), "graph must be a Graph, .* got list"),
        (lambda: graphs.fiedler_vector([]), "graph must be a Graph, .* got list"),
        (lambda: graphs.is_connected([]), "graph must be a Graph, .* got list"),
        (lambda: graphs.to_networkx([]), "graph must be a Graph, .* got list"),
        (lambda: graphs.most_central(5, 1), "graph must be a Graph, .* got int"),
        (lambda: graphs.at_random(KEY, 5, 1), "graph must be a Graph, .* got int"),
        (lambda: graphs.at_most(KEY, 5, 1, b=1), "graph must be a Graph, .* got int"),
    ],
)
def test_other_kinds_are_refused(make, line):
    with pytest.raises(TypeError, match=line):
        make()
