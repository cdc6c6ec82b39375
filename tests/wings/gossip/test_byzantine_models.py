"""Byzantine nodes with models of their own, and who hears whom."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import attacks, data
from simbyz.gossip import (
    GossipConfig,
    Network,
    Sampled,
    graphs,
    make_gossip,
    rules,
    who_hears_whom,
)
from simbyz.simulator import Hyperparameters, Momentum
from simbyz.tasks import Dense, classification
from simbyz.tasks.problems import quadratic
from tests.support.compiled import quick_jit

KEY = jax.random.key(1)
GRAPH = graphs.small_world(jax.random.key(2), 8, 4, 0.3)
TASK = quadratic(jax.random.key(0), 8, 3, heterogeneity=1.0, noise=0.1).task
GIVEN = Hyperparameters(0.2, worker=Momentum(0.8, 0.2))


def run(network, task=TASK, attack=None, rule=rules.gossip, steps=4, **options):
    models = bool(network.byzantine)
    config = GossipConfig(network, byzantine_gradients=models, evaluate_every=None)
    simulator = make_gossip(config, task, rule, attack, **options)

    @quick_jit
    def whole(data):
        return simulator.advance(simulator.initialise(KEY), GIVEN, data, KEY, 0, steps)

    return whole(task.data)


@pytest.mark.slower
def test_who_does_as_the_honest_do_is_one_of_them():
    """The last node is called Byzantine, sends what it has, and the run is that without any."""
    state, metrics = run(Network(GRAPH, (7,), f=1))
    plain, told = run(Network(GRAPH, f=1))
    assert state.parameters.shape == (8, 3)
    np.testing.assert_allclose(state.parameters, plain.parameters, atol=1e-6)
    assert not np.allclose(metrics.loss, told.loss)  # of the honest nodes alone


@pytest.mark.slower
def test_so_it_is_among_sampled_neighbours():
    with_model, plain = (run(Sampled(8, 3, 1, liars))[0] for liars in ((7,), ()))
    np.testing.assert_allclose(with_model.parameters, plain.parameters, atol=1e-6)


@pytest.mark.parametrize("aimed", [True, False])
def test_an_attack_is_given_what_they_would_have_sent(aimed):
    network = Network(graphs.complete(8), (2, 5))
    config = GossipConfig(network, byzantine_gradients=True, aimed=aimed, evaluate_every=None)
    simulator = make_gossip(config, TASK, lambda rows, f: rows[-1], flipped)
    vectors = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    zeros = jnp.zeros((8, 3))
    state = simulator.start(vectors, {})
    given = Hyperparameters(0.0, worker=Momentum())
    after, _ = quick_jit(simulator.apply)(state, given, KEY, 0, zeros, zeros[:, 0])
    # Behind the honest nodes' six rows are those of nodes 2 and 5.
    np.testing.assert_allclose(after.parameters[:6], np.stack([-vectors[7]] * 6))


@pytest.mark.parametrize("network", [Sampled(8, 3, 1, (7,)), Network(GRAPH, (7,))])
def test_a_byzantine_node_meets_its_own_vector_not_what_it_sends(network):
    config = GossipConfig(network, byzantine_gradients=True, aimed=False, momentum=False)
    simulator = make_gossip(config, TASK, lambda rows, f: rows[0], flipped)
    vectors = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    zeros, given = jnp.zeros((8, 3)), Hyperparameters(0.0)
    after, _ = quick_jit(simulator.apply)(
        simulator.start(vectors, {}), given, KEY, 0, zeros, zeros[:, 0]
    )
    np.testing.assert_array_equal(after.parameters, vectors)


def flipped(key, honest, num_byzantine, *, own):
    return -own


@pytest.mark.slower
def test_poisoned_labels_act():
    digits = data.load("digits")
    task = classification(digits, Dense(4), batch_size=8)
    network = Network(graphs.ring(6, 4), (1,))
    ends = [
        run(network, task, steps=3, relabel=relabel)[0].parameters
        for relabel in (None, lambda labels: 9 - labels)
    ]
    apart = np.abs(ends[0] - ends[1]).max(axis=1)
    assert apart[5] > 1e-4  # the Byzantine node's own model comes last
    assert apart[:5].max() < apart[5]


def test_poisoned_labels_need_models():
    config = GossipConfig(Network(GRAPH, (7,)), beyond_the_bound=True)
    with pytest.raises(ValueError, match="byzantine_gradients=True"):
        make_gossip(config, TASK, rules.gts, attacks.zero, relabel=lambda labels: labels)


@pytest.mark.slower
def test_who_hears_whom():
    graph = graphs.ring(8, 6)  # all but the opposite node
    network = Network(graph, (2, 5))
    vectors = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    far = functools.partial(attacks.gaussian, scale=1e3)
    for rule in (rules.ios, rules.clipped_gossip):
        config = GossipConfig(network, evaluate_every=None)
        weights = who_hears_whom(config, rule, far, vectors, KEY)
        assert weights.shape == (6, 8)
        heard = graph.adjacency()[network.honest]
        heard[np.arange(6), network.honest] = True
        assert np.array_equal(~np.isnan(weights), heard)
        np.testing.assert_allclose(np.nansum(weights, axis=1), 1, rtol=1e-5)
        of_liars = weights[:, [2, 5]]
        bound = 0 if rule is not rules.clipped_gossip else 0.01
        assert (of_liars[~np.isnan(of_liars)] <= bound).all()
    with pytest.raises(ValueError, match="not sampled"):
        who_hears_whom(GossipConfig(Sampled(8, 3, 1, (1,))), rules.gts, far, vectors, KEY)
    with pytest.raises(ValueError, match="no losses, which ubar asks for"):
        who_hears_whom(GossipConfig(network), rules.ubar, far, vectors, KEY)
