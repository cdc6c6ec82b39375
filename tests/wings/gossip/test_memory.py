"""What an exchange takes follows the edges, and with few nodes at once the nodes."""

import jax
import jax.numpy as jnp
import pytest

from simbyz.attacks import sign_flipping
from simbyz.gossip import GossipConfig, Network, graphs, make_gossip, rules
from simbyz.gossip.networks.groups import groups
from simbyz.gossip.over_devices import shard
from simbyz.simulator import Hyperparameters, Momentum
from simbyz.tasks import Task
from simbyz.tasks.problems import quadratic

N, D, DEGREE = 300, 1000, 8


def taken(at_once):
    """Bytes of a compiled exchange beside its arguments."""
    network = Network(graphs.ring(N, DEGREE), tuple(range(0, N, 10)))
    task = Task({}, lambda key: (jnp.zeros(D), {}), None, None, None, 1)
    config = GossipConfig(
        network,
        beyond_the_bound=True,
        momentum=False,
        evaluate_every=None,
        nodes_at_once=at_once,
        study=False,
    )
    simulator = make_gossip(config, task, rules.gts, sign_flipping)
    state = jax.eval_shape(simulator.initialise, jax.random.key(0))
    rows = jax.ShapeDtypeStruct((config.honest, D), jnp.float32)

    def one(state, rows):
        given = Hyperparameters(0.1)
        return simulator.apply(state, given, jax.random.key(0), 0, rows, rows[:, 0])[0].parameters

    memory = jax.jit(one).lower(state, rows).compile().memory_analysis()
    return memory.temp_size_in_bytes


@pytest.mark.slower
def test_memory_follows_the_edges():
    edges, nodes, all_pairs = (4 * D * count for count in (N * (DEGREE + 1), N, N**2))
    assert taken(None) < 8 * edges < all_pairs / 4
    assert taken(10) < 8 * nodes


@pytest.mark.slower
def test_memory_falls_with_the_devices():
    """Also of groups that can't be divided, of which a node is computed twice."""
    graph = graphs.regular(jax.random.key(1), N, DEGREE)
    network = Network(graph, tuple(range(0, N, 10)))
    assert any(len(group.nodes) % 2 for group in groups(network))
    config = GossipConfig(network, beyond_the_bound=True, evaluate_every=None, study=False)
    task = quadratic(jax.random.key(0), config.honest, D).task
    simulator = make_gossip(config, task, rules.gts, sign_flipping)
    state = jax.eval_shape(simulator.initialise, jax.random.key(0))
    given = Hyperparameters(0.1, worker=Momentum(0.9, 0.1))

    def bytes_on_each(devices):
        over = shard(simulator, jax.devices()[:devices]).advance
        lowered = over.lower(state, given, task.data, jax.random.key(0), 0, 1)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert bytes_on_each(2) < 0.6 * bytes_on_each(1)
