"""What an exchange takes follows the edges, and with few nodes at once the nodes."""

import jax
import jax.numpy as jnp
import pytest

from simbyz.attacks import sign_flipping
from simbyz.gossip import GossipConfig, Network, graphs, make_gossip, rules
from simbyz.simulator import Hyperparameters
from simbyz.tasks import Task

N, D, DEGREE = 300, 1000, 8


def taken(at_once):
    """Bytes of a compiled exchange beside its arguments."""
    network = Network(graphs.ring(N, DEGREE), tuple(range(0, N, 10)))
    task = Task({}, lambda key: (jnp.zeros(D), {}), None, None, None, 1)
    config = GossipConfig(
        network, momentum=False, evaluate_every=None, nodes_at_once=at_once, study=False
    )
    simulator = make_gossip(config, task, rules.gts, sign_flipping)
    state = jax.eval_shape(simulator.initialise, jax.random.key(0))
    rows = jax.ShapeDtypeStruct((config.honest, D), jnp.float32)

    def one(state, rows):
        given = Hyperparameters(0.1)
        return simulator.apply(state, given, jax.random.key(0), 0, rows, rows[:, 0])[0].parameters

    memory = jax.jit(one).lower(state, rows).compile().memory_analysis()
    return memory.temp_size_in_bytes


@pytest.mark.thorough
def test_memory_follows_the_edges():
    edges, nodes, all_pairs = (4 * D * count for count in (N * (DEGREE + 1), N, N**2))
    assert taken(None) < 8 * edges < all_pairs / 4
    assert taken(10) < 8 * nodes
