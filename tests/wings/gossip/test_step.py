"""A run without a server against loops over nodes, against the server's run, and against the rate
that the spectral gap promises.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.gossip import GossipConfig, Network, Sampled, columns, graphs, make_gossip, rules
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.metrics import bits_sent
from simbyz.simulator.workers import compress, top_k
from simbyz.tasks.problems import quadratic
from tests.reference import gossip as reference
from tests.support.compiled import quick_jit

KEY = jax.random.key(3)
D, RATE, DECAY = 5, 0.2, 0.8
GRAPH = graphs.erdos_renyi(jax.random.key(5), 9, 0.5)
NETWORK = Network(GRAPH, graphs.at_most(jax.random.key(2), GRAPH, 2, b=1))


@functools.cache
def problem(h):
    return quadratic(jax.random.key(0), h, D, heterogeneity=1.0, noise=0.3)


def run(config, rule, attack=None, steps=6, momentum=True, start=None, **options):
    simulator = make_gossip(config, problem(config.honest).task, rule, attack, **options)
    data = problem(config.honest).task.data
    worker = Momentum(DECAY, 1 - DECAY) if momentum else None

    @quick_jit
    def whole(key):
        state = simulator.initialise(key) if start is None else simulator.start(start, {})
        return simulator.advance(state, Hyperparameters(RATE, worker=worker), data, key, 0, steps)

    state, metrics = whole(KEY)
    return np.asarray(state.parameters), jax.device_get(metrics)


def loops(config, start, gradient_of, rule, lie, steps=6):
    """The same run by dictionaries of nodes, in float64."""
    network = config.networks[0]
    adjacency = network.graph.adjacency().tolist()
    weights = reference.metropolis(adjacency)
    points = {int(i): np.array(start, float) for i in network.honest}
    momenta = {i: np.zeros(D) for i in points}
    last = None

    def exchanged(vectors):
        for _ in range(config.rounds):
            vectors = reference.exchange(vectors, adjacency, network.byzantine, weights, lie, rule)
        return vectors

    for step in range(steps):
        gradients = {i: gradient_of(step, place, points[i]) for place, i in enumerate(points)}
        if config.variance_reduction:
            before = {i: gradient_of(step, p, last[i]) if last else 0 for p, i in enumerate(points)}
            momenta = {i: gradients[i] + DECAY * (momenta[i] - before[i]) for i in points}
        else:
            momenta = {i: DECAY * momenta[i] + (1 - DECAY) * gradients[i] for i in points}
        last = points
        if config.exchange == "after":
            points = exchanged({i: points[i] - RATE * momenta[i] for i in points})
        elif config.exchange == "before":
            mixed = exchanged(points)
            points = {i: mixed[i] - RATE * momenta[i] for i in points}
        else:
            mixed = exchanged(momenta)
            points = {i: points[i] - RATE * mixed[i] for i in points}
    return np.stack(list(points.values()))


def gradient_of(h):
    """The gradients of the problem, with the noise that its batches hold."""
    data = problem(h).task.data
    key = jax.random.fold_in(KEY, 1)
    _, noise = problem(h).task.batches(data, key, 0, 6, h)

    def gradient(step, place, point):
        curved = data.scales[place] * np.asarray(data.hessian, float) @ (point - data.optimum)
        return curved + data.tilts[place] + data.noise * np.asarray(noise[step, place], float)

    return gradient


@pytest.mark.slower
@pytest.mark.parametrize(
    "exchange, rounds, corrected",
    [
        ("after", 2, False),
        ("before", 1, True),
        ("gradients", 1, False),
    ],
)
def test_a_run_is_the_loop_over_nodes(exchange, rounds, corrected):
    config = GossipConfig(
        NETWORK,
        exchange=exchange,
        rounds=rounds,
        variance_reduction=corrected,
        evaluate_every=None,
        beyond_the_bound=True,
    )

    def lie(node, vectors, liars):
        return [sum(vectors.values()) / len(vectors) * (1 - 1.7)] * len(liars)

    attack = functools.partial(attacks.fall_of_empires, factor=1.7)
    made, metrics = run(config, rules.clipped_gossip_plus, attack)
    start = problem(7).task.initialise(jax.random.fold_in(KEY, 0))[0]
    expected = loops(
        config,
        start,
        gradient_of(7),
        lambda rows, weights: reference.clipped_gossip_plus(rows, 1, weights),
        lie,
    )
    np.testing.assert_allclose(made, expected, rtol=2e-5, atol=2e-6)
    apart = expected - expected.mean(axis=0)
    assert metrics.own["consensus_distance"].shape == (6,) and np.abs(apart).max() > 1e-3


@pytest.mark.slower
@pytest.mark.parametrize("name", ["ios", "remove_then_clip", "clipped_gossip_plus"])
def test_nodes_filled_up_to_one_shape_are_the_loop(name):
    """On a ring with one liar some nodes hear it and some do not: one program for all of them."""
    network = Network(graphs.ring(6), (2,))
    config = GossipConfig(network, evaluate_every=None, beyond_the_bound=True)

    def lie(node, vectors, liars):
        return [-3.0 * sum(vectors.values()) / len(vectors)] * len(liars)

    attack = functools.partial(attacks.fall_of_empires, factor=4.0)
    made, _ = run(config, getattr(rules, name), attack)
    start = problem(5).task.initialise(jax.random.fold_in(KEY, 0))[0]
    rule = getattr(reference, name)
    expected = loops(
        config, start, gradient_of(5), lambda rows, weights: rule(rows, 1, weights), lie
    )
    np.testing.assert_allclose(made, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.slower
@pytest.mark.parametrize("name", ["trimmed_mean", "krum", "geometric_median", "centered_clipping"])
def test_on_a_complete_graph_it_is_the_servers_run(name):
    """All nodes start equal and get the same Byzantine rows."""
    n, f = 8, 2
    options = {
        "geometric_median": {"smoothing": 1e-6, "iterations": 4, "start": "median"},
        "centered_clipping": {"radius": 0.5},
    }.get(name, {})
    rule = functools.partial(getattr(aggregators, name), **options)
    network = Network(graphs.complete(n), (6, 7))
    task = problem(n - f).task
    server = make_simulator(
        Config(n=n, f=f, evaluate_every=None, study=False), task, rule, attacks.gaussian
    )

    @quick_jit
    def theirs(key):
        given = Hyperparameters(RATE, worker=Momentum(DECAY, 1 - DECAY))
        return server.advance(server.initialise(key), given, task.data, key, 0, 6)

    expected, told = theirs(KEY)
    config = GossipConfig(network, exchange="gradients", evaluate_every=None, study=False)
    made, metrics = run(config, rule, attacks.gaussian)
    np.testing.assert_allclose(made, np.stack([expected.parameters] * 6), atol=1e-6)
    np.testing.assert_allclose(metrics.loss, told.loss, atol=1e-6)
    np.testing.assert_allclose(metrics.distance_from_start, told.distance_from_start, atol=1e-6)


@pytest.mark.slower
def test_without_attackers_consensus_comes_at_the_rate_of_the_gap():
    graph = graphs.two_worlds(8, 2)
    network = Network(graph)
    start = np.random.default_rng(0).normal(size=(8, D)).astype(np.float32)
    config = GossipConfig(network, momentum=False, evaluate_every=None)
    simulator = make_gossip(config, problem(8).task, rules.gossip)

    @quick_jit
    def whole(key):
        return simulator.advance(
            simulator.start(start, {}), Hyperparameters(0.0), problem(8).task.data, key, 0, 30
        )

    state, metrics = whole(KEY)
    gap = graphs.spectral_gap(graph, graphs.metropolis(graph))
    distances = metrics.own["consensus_distance"]
    assert (distances[1:] <= distances[:-1] * (1 - gap) * 1.0001).all()
    np.testing.assert_allclose(distances[-1] / distances[-2], 1 - gap, rtol=1e-3)
    np.testing.assert_allclose(state.parameters.mean(axis=0), start.mean(axis=0), atol=1e-6)


@pytest.mark.slower
def test_gradient_tracking_finds_the_optimum_that_plain_steps_miss():
    network = Network(graphs.ring(6))
    exact = quadratic(jax.random.key(0), 6, D, heterogeneity=1.0)
    ends = {}
    for tracking in (False, True):
        config = GossipConfig(network, tracking=tracking, momentum=False, evaluate_every=None)
        simulator = make_gossip(config, exact.task, rules.gossip)

        @quick_jit
        def whole(key, simulator=simulator):
            state = simulator.initialise(key)
            return simulator.advance(state, Hyperparameters(0.3), exact.task.data, key, 0, 900)[0]

        ends[tracking] = np.abs(whole(KEY).parameters - exact.optimum[None]).max()
    assert ends[True] < 1e-5 and ends[False] > 0.1


@pytest.mark.parametrize("first", [0, 3])
def test_tracking_starts_at_the_gradient_wherever_a_run_starts(first):
    """No attacker has a part in the first step's estimate, by the step's number or not."""
    config = GossipConfig(Network(graphs.complete(6), (5,)), tracking=True, momentum=False)
    simulator = make_gossip(config, problem(5).task, rules.gossip, attacks.gaussian)
    gradients = np.random.default_rng(0).normal(size=(5, D)).astype(np.float32)
    state = simulator.start(np.zeros(D, np.float32), {})
    apply = quick_jit(simulator.apply)
    after, _ = apply(state, Hyperparameters(RATE), KEY, first, gradients, gradients[:, 0])
    np.testing.assert_array_equal(after.tracking.estimates, gradients)


@pytest.mark.slower
def test_networks_take_turns_and_nodes_may_be_handled_in_parts():
    ring, whole = Network(graphs.ring(6)), Network(graphs.complete(6))
    start = np.random.default_rng(0).normal(size=(6, D)).astype(np.float32)
    vectors = start.astype(float)
    for graph in (ring, whole, ring):
        vectors = graph.weights.matrix(graph.graph) @ vectors
    simulator = make_gossip(
        GossipConfig([ring, whole], momentum=False, evaluate_every=None, nodes_at_once=4),
        problem(6).task,
        rules.gossip,
    )
    state, _ = quick_jit(simulator.advance, static_argnums=5)(
        simulator.start(start, {}), Hyperparameters(0.0), problem(6).task.data, KEY, 0, 3
    )
    np.testing.assert_allclose(state.parameters, vectors, atol=1e-5)


@pytest.mark.slower
def test_sampled_neighbours_are_others_and_differ_from_step_to_step():
    sampled = Sampled(9, 4, 1, (0, 5))
    drawn = np.asarray(jax.vmap(sampled.draw)(jax.random.split(KEY, 200)))
    assert drawn.shape == (200, 7, 4) and drawn.min() == 0 and drawn.max() == 8
    for node in range(7):
        rows = drawn[:, node]
        assert (rows != node).all() and all(len(set(row)) == 4 for row in rows.tolist())
        counts = np.bincount(rows.ravel(), minlength=9)
        assert counts[node] == 0 and (np.delete(counts, node) > 60).all()
    config = GossipConfig(sampled, evaluate_every=None)
    made, metrics = run(config, aggregators.trimmed_mean, attacks.fall_of_empires, steps=30)
    assert np.isfinite(made).all()
    assert (metrics.own["consensus_distance"] < 1).all()
    assert np.isnan(metrics.own["disagreement"]).all()


@pytest.mark.slower
def test_columns_tell_who_was_heard():
    config = GossipConfig(Network(graphs.ring(8, 4), (3,)), evaluate_every=2, certify=True)
    accuracy = {"worst": lambda *, losses: jnp.max(losses)}
    _, metrics = run(
        config,
        aggregators.monna,
        functools.partial(attacks.gaussian, scale=100.0),
        columns=accuracy,
    )
    own = metrics.own
    np.testing.assert_array_equal(own["byzantine_excluded"], 1)
    np.testing.assert_array_equal(own["byzantine_share"], 0)
    assert np.isfinite(metrics.coefficient).all() and (own["worst"] >= metrics.loss).all()
    assert np.isfinite(metrics.accuracy[::2]).all() and np.isnan(metrics.accuracy[1::2]).all()
    evaluated = [own["accuracy_worst"][::2], metrics.accuracy[::2], own["accuracy_best"][::2]]
    assert (np.diff(evaluated, axis=0) > -1e-5).all()
    assert (own["disagreement_largest"] >= own["disagreement"]).all()


def test_columns_of_each_edge_and_neighbourhood():
    network = Network(graphs.ring(8, 4), (3,))
    start = np.random.default_rng(0).standard_normal((7, D)).astype(np.float32)
    own = columns.by_edge(network) | columns.by_neighbourhood(network)
    config = GossipConfig(network, evaluate_every=None, certify=True)
    sign = attacks.sign_flipping
    _, metrics = run(config, aggregators.median, sign, steps=1, start=start, columns=own)
    told = {name: values[0] for name, values in metrics.own.items() if name in own}
    points = dict(zip([0, 1, 2, 4, 5, 6, 7], start.astype(float), strict=True))
    edges = [(i, j) for i in points for j in points if i < j and (j - i) % 8 in (1, 2, 6, 7)]
    assert len(told) == len(edges) + 7 == 19
    for i, j in edges:
        distance = np.linalg.norm(points[i] - points[j])
        assert told[f"disagreement_{i}_{j}"] == pytest.approx(distance, rel=1e-5)
    coefficients = [told[f"coefficient_{node}"] for node in points]
    assert max(coefficients) == metrics.coefficient[0] and len(set(coefficients)) == 7


@pytest.mark.slower
@pytest.mark.parametrize("local_steps", [1, 2])
def test_ubar_is_told_the_losses_of_each_nodes_batch(local_steps):
    network = Network(graphs.complete(6), (5,))
    config = GossipConfig(network, momentum=False, evaluate_every=None, local_steps=local_steps)
    made, _ = run(config, rules.ubar, attacks.fall_of_empires, steps=1, momentum=False)
    exact, data = problem(5), problem(5).task.data
    start = np.asarray(exact.task.initialise(jax.random.fold_in(KEY, 0))[0], float)
    numbers, noise = exact.task.batches(data, jax.random.fold_in(KEY, 1), 0, 1, 5)
    sent = np.stack([start] * 5)
    for local in range(local_steps):
        sent = sent - RATE * np.stack([gradient_of(5)(local, i, sent[i]) for i in range(5)])
    for node in range(5):

        def loss_of(point, node=node):
            batch = numbers[0, node], noise[0, node]
            return float(exact.task.loss(data, jnp.float32(point), {}, batch, KEY)[0])

        lie = -0.1 * sent.mean(axis=0)
        rows = np.stack([sent[node], *np.delete(sent, node, axis=0), lie])
        np.testing.assert_allclose(made[node], reference.ubar(rows, 1, loss_of), atol=1e-5)


@pytest.mark.parametrize("options", [{"exchange": "gradients"}, {"tracking": True}])
def test_losses_of_gradients_are_refused(options):
    config = GossipConfig(Network(graphs.complete(6), (5,)), momentum=False, **options)
    with pytest.raises(ValueError, match="ubar compares losses of parameters, .* without tracking"):
        make_gossip(config, problem(5).task, rules.ubar, attacks.fall_of_empires)


def test_losses_without_data_are_refused():
    config = GossipConfig(Network(graphs.complete(6), (5,)), momentum=False, evaluate_every=None)
    simulator = make_gossip(config, problem(5).task, rules.ubar, attacks.fall_of_empires)
    rows = jnp.zeros((5, D))
    with pytest.raises(ValueError, match="ubar asks for losses on the task's data, .* `advance`"):
        jax.eval_shape(
            lambda state: simulator.apply(state, Hyperparameters(0.1), KEY, 0, rows, rows[:, 0]),
            jax.eval_shape(simulator.initialise, KEY),
        )


@pytest.mark.parametrize(
    ("options", "bits"),
    [
        ({"exchange": "gradients"}, 2 * (32 + 3)),  # of D = 5 coordinates
        pytest.param(
            {"exchange": "gradients", "rounds": 3},
            2 * (32 + 3) + 2 * D * 32,
            marks=pytest.mark.slower,
        ),
        ({"exchange": "after"}, D * 32),
        pytest.param({"exchange": "before", "rounds": 2}, 2 * D * 32, marks=pytest.mark.slower),
        pytest.param({"tracking": True, "momentum": False}, 2 * D * 32, marks=pytest.mark.slower),
    ],
    ids=str,
)
def test_bits_of_messages_are_a_column(options, bits):
    """Of a compressed gradient, where it is what nodes exchange; parameters go whole."""
    config = GossipConfig(Network(graphs.ring(5)), evaluate_every=None, **options)
    more = {"senders": [compress(top_k(2))], "columns": {"bits": bits_sent}}
    _, metrics = run(config, rules.gossip, steps=2, momentum=config.momentum, **more)
    np.testing.assert_array_equal(metrics.own["bits"], bits)


def test_from_half_precision_it_goes_on_in_single():
    start, of = np.arange(D, dtype=np.float16), problem(6)
    config = GossipConfig(Network(graphs.ring(6)), momentum=False)
    simulator = make_gossip(config, of.task, rules.gossip)
    halves, singles = (simulator.start(some, {}) for some in (start, start.astype(np.float32)))
    jax.tree.map(np.testing.assert_array_equal, halves, singles)
    advance = functools.partial(simulator.advance, num_steps=1)
    after, _ = jax.eval_shape(advance, halves, Hyperparameters(0.1), of.task.data, KEY, 0)
    assert halves.parameters.dtype == after.parameters.dtype == np.float32


@pytest.mark.parametrize("options", [{"rounds": 2}, {"tracking": True, "momentum": False}])
def test_single_precision_stays_beside_numbers_in_double(options):
    config, of = GossipConfig(NETWORK, beyond_the_bound=True, **options), problem(7)
    simulator = make_gossip(config, of.task, rules.gts, attacks.fall_of_empires)
    with jax.enable_x64(True):
        worker = Momentum(np.float64(DECAY)) if config.momentum else None
        given = Hyperparameters(RATE, worker=worker, attack={"factor": np.float64(1.5)})
        advance = functools.partial(simulator.advance, num_steps=1)
        start = simulator.start(np.zeros(D, np.float32), {})
        after, _ = jax.eval_shape(advance, start, given, of.task.data, KEY, 0)
    assert after.parameters.dtype == np.float32
