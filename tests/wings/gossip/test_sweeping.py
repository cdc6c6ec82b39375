"""Runs without a server are swept, checkpointed and resumed as all others: to the last bit."""

import jax
import numpy as np
import pytest

from simbyz.attacks import relocating, sign_flipping
from simbyz.gossip import GossipConfig, Network, graphs, make_gossip, rules
from simbyz.gossip.over_devices import shard
from simbyz.simulator import Hyperparameters, Momentum
from simbyz.sweeps import Lane, Stopped, sweep
from simbyz.sweeps.checkpoints import Checkpoints
from simbyz.tasks.problems import quadratic
from tests.support.compiled import quick_jit

NETWORK = Network(graphs.ring(8, 4), (3,))
CONFIG = GossipConfig(
    NETWORK, evaluate_every=2, local_steps=2, variance_reduction=True, beyond_the_bound=True
)
TASK = quadratic(jax.random.key(0), 7, 4, heterogeneity=1.0, noise=0.2).task
SIMULATOR = make_gossip(CONFIG, TASK, rules.gts, relocating())
LANES = [
    Lane(seed, Hyperparameters(rate, worker=Momentum(0.9, 0.1), attack={"size": 1.0}), f"{seed}")
    for seed, rate in ((1, 0.1), (2, 0.3))
]


def results(folder=None, stop=lambda: False):
    kept = None if folder is None else Checkpoints(folder, 0, {}, lambda run: False)
    return list(
        sweep(SIMULATOR, LANES, TASK.data, steps=6, width=1, chunk=2, checkpoints=kept, stop=stop)
    )


@pytest.mark.slower
def test_a_run_goes_on_from_a_checkpoint_with_the_same_bits(tmp_path):
    whole = results()
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        results(tmp_path, lambda: next(asked, True))
    assert list(tmp_path.iterdir())
    for one, other in zip(whole, results(tmp_path), strict=True):
        assert one.parameters.shape == (7, 4)
        np.testing.assert_array_equal(one.parameters, other.parameters)
        assert (
            one.columns.keys() == other.columns.keys() >= {"consensus_distance", "accuracy_worst"}
        )
        for name in one.columns:
            assert len(one.columns[name]) == 7
            np.testing.assert_array_equal(one.columns[name], other.columns[name])


@pytest.mark.slower
def test_local_steps_are_steps_of_each_node():
    """Without an exchange that changes anything, two local steps are two steps."""
    alone = Network(graphs.from_edges(1, []))
    task = quadratic(jax.random.key(0), 1, 4).task
    ends = []
    for steps, local in ((2, 2), (4, 1)):
        config = GossipConfig(alone, local_steps=local, momentum=False, evaluate_every=None)
        simulator = make_gossip(config, task, rules.gossip)
        key = jax.random.key(0)

        @quick_jit
        def run(data, simulator=simulator, steps=steps, key=key):
            start = simulator.start(np.ones(4, np.float32), {})
            return simulator.advance(start, Hyperparameters(0.1), data, key, 0, steps)[0]

        ends.append(run(task.data).parameters)
    np.testing.assert_allclose(*ends, rtol=1e-6)


@pytest.mark.slower
def test_nodes_are_cut_over_devices():
    """Two devices hold half of the nodes each, and the run is that of one."""
    network = Network(graphs.regular(jax.random.key(0), 10, 4), (2, 5), strict=False)
    task = quadratic(jax.random.key(0), 8, 4, heterogeneity=1.0, noise=0.2).task
    simulator = make_gossip(GossipConfig(network), task, rules.clipped_gossip, sign_flipping)
    given = Hyperparameters(0.2, worker=Momentum(0.9, 0.1))
    key = jax.random.key(1)
    alone, told = quick_jit(simulator.advance, static_argnums=5)(
        quick_jit(simulator.initialise)(key), given, task.data, key, 0, 4
    )
    over = shard(simulator, jax.devices()[:2])
    state, metrics = over.advance(over.initialise(key), given, task.data, key, 0, 4)
    parts = [one.data.shape for one in state.parameters.addressable_shards]
    assert parts == [(4, 4), (4, 4)]
    np.testing.assert_allclose(state.parameters, alone.parameters, atol=1e-6)
    np.testing.assert_allclose(metrics.loss, told.loss, atol=1e-6)
    with pytest.raises(ValueError, match="h = 7 honest nodes can't be cut among 2 devices"):
        shard(SIMULATOR, jax.devices()[:2])
