"""Wrong runs without a server, one a row: each gets one line, before anything is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.gossip import GossipConfig, Network, graphs, make_gossip, rules, who_hears_whom
from simbyz.gossip.attacks import dissensus
from simbyz.gossip.over_devices import shard
from simbyz.tasks.problems import quadratic

PROBLEM = quadratic(jax.random.key(0), 5, 3)
RING = graphs.ring(5, 4)


def gossiped(rule=rules.gossip, attack=None, byzantine=(), **more):
    own = {name: more.pop(name) for name in ("selection", "columns") if name in more}
    config = GossipConfig(Network(RING, byzantine), **more)
    return make_gossip(config, PROBLEM.task, rule, attack, **own)


def heard(attack=attacks.sign_flipping, rows=4, **more):
    config = GossipConfig(Network(RING, (4,)), **more)
    vectors = np.zeros((*np.atleast_1d(np.array(rows, int)), 3), np.float32)
    return who_hears_whom(config, rules.gts, attack, vectors, jax.random.key(0))


# (what is called, the error, what its message says)
CALLS = {
    "of a node's rule": (
        lambda: gossiped(aggregators.weighted_median),
        ValueError,
        "weighted_median asks for masses, .* some of key, weights, honest, trusted, loss_of",
    ),
    "of a node's selection": (
        lambda: gossiped(selection=lambda rows, f, *, masses: masses),
        ValueError,
        "the selection <lambda> asks for masses",
    ),
    "a node's selection": (
        lambda: gossiped(selection="gts"),
        TypeError,
        "selection must be a function, .* got 'gts'",
    ),
    "a node's rule of ints": (
        lambda: gossiped(lambda rows, f: jnp.zeros(3, int)),
        ValueError,
        "at a node that hears 4 neighbours: the rule <lambda> must return floats, got int",
    ),
    "a node's weights": (
        lambda: gossiped(selection=lambda rows, f: rows[:, :2]),
        ValueError,
        r"the selection <lambda> must return a weight a row, \(n,\), of shape \(5,\), got",
    ),
    "of a node's column": (
        lambda: gossiped(columns={"a": lambda *, stack: 0.0}),
        ValueError,
        "column 'a' asks for stack, .* some of parameters, sent, sampled",
    ),
    "of a node's attack": (
        lambda: gossiped(attack=attacks.model_replacement, byzantine=(4,)),
        ValueError,
        r"asks for own, .* set GossipConfig\(byzantine_gradients=True\)",
    ),
    "nodes at once": (
        lambda: gossiped(nodes_at_once=0),
        ValueError,
        "nodes_at_once must be at least 1 or None, got 0",
    ),
    "none to correct": (
        lambda: gossiped(momentum=False, variance_reduction=True),
        ValueError,
        "variance_reduction corrects momentum: it needs momentum=True",
    ),
    "none to look ahead along": (
        lambda: gossiped(momentum=False, nesterov=True),
        ValueError,
        r"nesterov looks ahead along momentum, of which there is none: .* momentum=True",
    ),
    "vectors of some nodes": (
        lambda: heard(rows=3),
        ValueError,
        r"vectors must be floats of shape \(h, d\), h = 4, got float32 \(3, 3\)",
    ),
    "vectors of the liars, too": (lambda: heard(rows=5), ValueError, "h = 4, got float32"),
    "no vectors": (lambda: heard(rows=()), ValueError, r"h = 4, got float32 \(3,\)"),
    "nothing to send": (
        lambda: heard(None),
        ValueError,
        "1 Byzantine nodes need an attack to send",
    ),
    "a node that is not aimed at": (
        lambda: heard(dissensus, aimed=False),
        ValueError,
        "the attack dissensus asks for target, neighbours, weights of each node .* aimed=True",
    ),
    "no device": (lambda: shard(gossiped(), []), ValueError, "devices must name at least one"),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(case):
    call, error, message = CALLS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error and "\n" not in str(caught.value)
