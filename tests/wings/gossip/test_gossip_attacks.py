"""Attacks that know the graph against loops, through the step that tells them what they ask for."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz._arrays.calling import asked
from simbyz.gossip import GossipConfig, Network, Sampled, graphs, make_gossip, rules
from simbyz.gossip import attacks as gossip_attacks
from simbyz.simulator import Hyperparameters
from simbyz.tasks.problems import quadratic
from tests.reference import gossip as reference
from tests.support.compiled import products_with_all_digits, quick_jit

KEY = jax.random.key(3)
H, D = 7, 3
GRAPH = graphs.erdos_renyi(jax.random.key(5), 10, 0.6)
# Some nodes hear several of them, some hear none.
NETWORK = Network(GRAPH, (2, 5, 9), strict=False)
VECTORS = np.random.default_rng(1).normal(size=(H, D)).astype(np.float32)
BY_NODE = {int(i): VECTORS[p].astype(float) for p, i in enumerate(NETWORK.honest)}
FIEDLER = dict(zip(BY_NODE, graphs.fiedler_vector(NETWORK.honest_graph), strict=True))
WEIGHTS = graphs.metropolis(GRAPH).matrix(GRAPH)


def last_row(updates, f, *, which=-1):
    return updates[which]


def sent(attack, which=-1, network=NETWORK, vectors=VECTORS, **options):
    """The last (or another) row that meets at each node after one exchange of the vectors."""
    task = quadratic(jax.random.key(0), H, D).task
    config = GossipConfig(network, momentum=False, evaluate_every=None, **options)
    rule = functools.partial(last_row, which=which)
    simulator = make_gossip(config, task, rule, attack)
    zeros = np.zeros_like(vectors)

    @quick_jit
    def one(key):
        state = simulator.start(vectors, {})
        return simulator.apply(state, Hyperparameters(0.0), key, 0, zeros, zeros[:, 0])[0]

    return np.asarray(one(KEY).parameters, float)


def expected_of(name, node, meeting, factor):
    adjacency = GRAPH.adjacency().tolist()
    if name == "dissensus":
        return reference.dissensus(node, BY_NODE, adjacency, NETWORK.byzantine, WEIGHTS, factor)
    if name in ("spectral_heterogeneity", "bridge_splitting"):
        return getattr(reference, name)(node, BY_NODE, FIEDLER, factor)
    if name == "sandwich":
        sign = 1 if len(NETWORK.liars_of(node)) % 2 else -1
        return BY_NODE[node] + sign * factor * reference.deviation(meeting)
    if name == "little_around":
        return BY_NODE[node] + factor * reference.deviation(list(BY_NODE.values()))
    return BY_NODE[node] + factor * sum(BY_NODE.values()) / H


@pytest.mark.parametrize("name", gossip_attacks.GRAPH_ATTACKS)
def test_attack_is_the_loop(name):
    attack = functools.partial(gossip_attacks.GRAPH_ATTACKS[name], factor=1.3)
    made = sent(attack)
    for place, node in enumerate(BY_NODE):
        if not len(NETWORK.liars_of(node)):
            continue
        meeting = [BY_NODE[j] for j in BY_NODE if j == node or j in GRAPH.heard(node)]
        expected = expected_of(name, node, meeting, 1.3)
        np.testing.assert_allclose(made[place], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "factor"), [("little_around", -(3**0.5)), ("empire_around", -4.0)]
)
def test_a_row_is_a_float_where_its_shift_is_none(name, factor):
    """Of one coordinate: the mean is 1e38, the deviation 4e38 / 3**0.5."""
    everyone = jnp.array([[3e38], [3e38], [-1e38], [-1e38]], jnp.float32)
    told = {"target": jnp.array([3e38], jnp.float32), "everyone": everyone}
    attack = gossip_attacks.GRAPH_ATTACKS[name]
    row = attack(KEY, everyone, 1, factor=factor, **asked(attack, told))
    np.testing.assert_allclose(row, [[-1e38]], rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "rows", "factor", "expected"),
    [
        (jnp.float16, [6e4, 5e4, 1e4, 2e4], -1.0, 2e4),  # 6e4 - (5.5e4 - 1.5e4)
        (jnp.float32, [3e38, 2e38, -3e38, -1e38], -0.5, 0.75e38),  # 3e38 - (2.5e38 + 2e38) / 2
    ],
)
def test_sides_whose_sums_are_no_floats(dtype, rows, factor, expected):
    everyone = jnp.array(rows, dtype)[:, None]
    told = {"target": everyone[0], "everyone": everyone, "place": jnp.int32(0)}
    told["fiedler"] = jnp.array([0.5, 0.5, -0.5, -0.5], jnp.float32)
    attack = gossip_attacks.bridge_splitting
    row = attack(KEY, everyone, 1, factor=factor, **asked(attack, told))
    assert row.dtype == dtype
    np.testing.assert_allclose(np.asarray(row, np.float64), [[expected]], rtol=1e-3)


def test_the_graph_has_all_digits_in_double_precision():
    with jax.enable_x64(True):
        made = sent(gossip_attacks.spectral_heterogeneity, vectors=VECTORS.astype(np.float64))
    for place, node in enumerate(BY_NODE):
        if len(NETWORK.liars_of(node)):
            expected = expected_of("spectral_heterogeneity", node, None, 1.0)
            np.testing.assert_allclose(made[place], expected, rtol=1e-11)


def test_sandwich_holds_the_node_between_both():
    two = Network(graphs.complete(9), (7, 8))
    attack = functools.partial(gossip_attacks.sandwich, factor=2.0)
    first, second = (sent(attack, which, network=two) for which in (-1, -2))
    np.testing.assert_allclose((first + second) / 2, VECTORS, atol=1e-5)
    assert np.abs(first - second).min() > 0.1


@pytest.mark.parametrize(
    "name",
    ["fall_of_empires", "mimic"]
    + [pytest.param(name, marks=pytest.mark.slower) for name in ("a_little_is_enough", "min_max")],
)
def test_attacks_of_the_library_are_made_of_what_meets_at_a_node(name):
    attack = attacks.ATTACKS[name]
    made = sent(attack)
    for place, node in enumerate(BY_NODE):
        liars = len(NETWORK.liars_of(node))
        if liars and place % 3 == 0:  # each shape is compiled anew
            meeting = [BY_NODE[j] for j in BY_NODE if j == node or j in GRAPH.heard(node)]
            send = quick_jit(functools.partial(attack, num_byzantine=liars))
            alone = send(jax.random.key(0), np.stack(meeting).astype(np.float32))
            np.testing.assert_allclose(made[place], alone[-1], rtol=1e-4, atol=1e-5)


def test_not_aimed_each_liar_sends_the_same_to_all_its_neighbours():
    made = sent(attacks.gaussian, aimed=False)
    by_liar = {}
    for place, node in enumerate(BY_NODE):
        if len(liars := NETWORK.liars_of(node)):
            by_liar.setdefault(int(liars[-1]), []).append(made[place])
    assert len(by_liar) > 1
    firsts = []
    for rows in by_liar.values():
        np.testing.assert_array_equal(rows, np.stack([rows[0]] * len(rows)))
        firsts.append(rows[0][0])
    assert len(set(firsts)) == len(firsts)


def test_the_searched_factor_does_most_harm_of_those_tried():
    """The first two tried are 0 and 1."""
    network = Network(graphs.complete(9), (7, 8))
    rule = rules.clipped_gossip_plus

    def harm(attack):
        task = quadratic(jax.random.key(0), H, D).task
        config = GossipConfig(network, momentum=False, evaluate_every=None)
        simulator = make_gossip(config, task, rule, attack)
        zeros = jnp.zeros_like(VECTORS)

        @quick_jit
        def one(factor):
            options = {} if factor is None else {"factor": factor}
            state = simulator.start(VECTORS, {})
            given = Hyperparameters(0.0, attack=options)
            return simulator.apply(state, given, KEY, 0, zeros, zeros[:, 0])[0].parameters

        goal = VECTORS + np.stack([(VECTORS - own).sum(axis=0) / 9 for own in VECTORS])
        tried = [None] if attack is not gossip_attacks.dissensus else [0.0, 1.0]
        return np.stack([np.square(np.asarray(one(factor)) - goal).sum(axis=1) for factor in tried])

    found = harm(gossip_attacks.searched(gossip_attacks.dissensus, evaluations=12))[0]
    tried = harm(gossip_attacks.dissensus)
    assert (found >= tried * (1 - 1e-5)).all() and (found > 1.5 * tried[0]).all()


@pytest.mark.parametrize("name", ["dissensus", "spectral_heterogeneity", "bridge_splitting"])
def test_sums_of_rows_keep_all_digits_on_a_gpu(name):
    known = {
        "target": jnp.asarray(VECTORS[0]),
        "neighbours": VECTORS[1:],
        "everyone": VECTORS,
        "weights": jnp.full(H + 2, 1 / (H + 2)),
        "place": jnp.int32(0),
        "fiedler": jnp.asarray(list(FIEDLER.values())),
    }
    attack = getattr(gossip_attacks, name)
    told = asked(attack, known)
    assert products_with_all_digits(lambda rows: attack(KEY, rows, 2, **told), VECTORS) > 0


@pytest.mark.parametrize("symmetry", [None, "rotations"])
def test_a_search_finds_the_same_factor_wherever_the_vectors_are(symmetry):
    attack = gossip_attacks.searched(
        gossip_attacks.dissensus, evaluations=6, symmetry=symmetry, equal_rows=True
    )
    weights = jnp.full(H + 2, 1 / (H + 2))

    @jax.jit
    def row(vectors):
        def result(lies, honest=vectors):
            stack = jnp.concatenate([honest, lies])
            return rules.clipped_gossip_plus(stack, 2, weights=weights)

        known = {"target": vectors[0], "neighbours": vectors[1:], "weights": weights}
        return attack(KEY, vectors, 2, **known, result=result)[0]

    usual = row(VECTORS)
    pull = (VECTORS[1:] - VECTORS[0]).sum(axis=0) / 2  # with the factor 1
    assert np.linalg.norm(usual - VECTORS[0]) > 0.9 * np.linalg.norm(pull)
    for scale in (2.0**-66, 2.0**66):
        np.testing.assert_allclose(row(VECTORS * scale) / scale, usual, rtol=1e-4)


@pytest.mark.slower
def test_a_search_by_few_numbers_finds_the_same():
    network = Network(graphs.complete(9), (7, 8))
    many = np.random.default_rng(3).normal(size=(H, 40)).astype(np.float32)
    ends = []
    for symmetry, equal in ((None, False), ("rotations", False), ("rotations", True)):
        attack = gossip_attacks.searched(
            gossip_attacks.dissensus, evaluations=8, symmetry=symmetry, equal_rows=equal
        )
        config = GossipConfig(network, momentum=False, evaluate_every=None)
        task = quadratic(jax.random.key(0), H, 40).task
        simulator = make_gossip(config, task, rules.clipped_gossip_plus, attack)
        zeros = jnp.zeros_like(many)
        apply = quick_jit(simulator.apply)
        state = simulator.start(many, {})
        made = apply(state, Hyperparameters(0.0), KEY, 0, zeros, zeros[:, 0])[0]
        ends.append(made.parameters)
    for few in ends[1:]:
        np.testing.assert_allclose(few, ends[0], atol=1e-4)
    with pytest.raises(ValueError, match='symmetry must be "rotations" or None'):
        gossip_attacks.searched(gossip_attacks.dissensus, symmetry="all")


def test_attacks_with_a_memory_have_one_for_each_node():
    made = sent(attacks.relocating())
    assert np.isfinite(made).all()
    task = quadratic(jax.random.key(0), H, D).task
    config = GossipConfig(NETWORK, evaluate_every=None)
    simulator = make_gossip(config, task, aggregators.average, attacks.relocating())
    state = simulator.initialise(KEY)
    assert state.attack.shape == (H, D)


@pytest.mark.parametrize(
    "make, line",
    [
        (
            lambda task: make_gossip(GossipConfig(NETWORK), task, rules.gts),
            "3 Byzantine nodes need",
        ),
        (
            lambda task: make_gossip(
                GossipConfig(Sampled(10, 3, 1, (1, 2, 3))), task, rules.gts, attacks.relocating()
            ),
            "remembers each node it attacks",
        ),
        (
            lambda task: make_gossip(
                GossipConfig(NETWORK),
                task,
                rules.gts,
                attacks.zero,
                columns={"disagreement": lambda *, sent: sent.sum()},
            ),
            "columns have names of their own",
        ),
        (
            lambda task: make_gossip(
                GossipConfig(Network(GRAPH, (2, 5, 9), f=6, strict=False)),
                task,
                aggregators.trimmed_mean,
                attacks.zero,
            ),
            "trimmed_mean needs n >= 2f",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(make, line):
    with pytest.raises(ValueError, match=line):
        make(quadratic(jax.random.key(0), H, D).task)


def test_what_is_searched_takes_options_of_its_own() -> None:
    """Those that it needs, and those that have a default."""

    def pushed(key, honest, num_byzantine, *, target, where, factor, push=1.0):
        row = target.at[where].add(factor * push)
        return jnp.broadcast_to(row, (num_byzantine, *row.shape))

    attack = gossip_attacks.searched(pushed, evaluations=4)
    assert {"where", "push"} < set(inspect.signature(attack).parameters)
    known = {
        "target": jnp.zeros(3),
        "neighbours": jnp.ones((2, 3)),
        "weights": jnp.array([0.4, 0.2, 0.2, 0.2]),
        "result": lambda rows: rows[0],
    }
    send = functools.partial(attack, jax.random.key(0), jnp.ones((2, 3)), 1, **known)
    once, thrice = send(where=2), send(where=2, push=3.0)
    assert float(once[0, 2]) > 0 and once[0, :2].tolist() == [0, 0]
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-6)
