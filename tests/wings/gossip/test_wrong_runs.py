"""Wrong runs without a server, one a row: each gets one line, before anything is compiled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.gossip import (
    GossipConfig,
    Network,
    Sampled,
    graphs,
    make_gossip,
    rules,
    who_hears_whom,
)
from simbyz.gossip.attacks import dissensus, searched
from simbyz.gossip.columns import by_edge, by_neighbourhood
from simbyz.gossip.over_devices import shard
from simbyz.simulator import Hyperparameters, Momentum
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


ROWS = np.ones((5, 3), np.float32)


def weighed(rule, shape, **more):
    """A call with weights that are not one for each row."""
    return lambda: rule(ROWS, 1, weights=np.full(shape, 0.2, np.float32), **more)


def stepped(**more):
    """One step of a run, traced."""
    simulator = gossiped(**more)
    state = jax.eval_shape(simulator.initialise, jax.random.key(0))
    numbers = Hyperparameters(0.1, worker=Momentum(0.9))
    advance = functools.partial(simulator.advance, num_steps=1)
    return jax.eval_shape(advance, state, numbers, PROBLEM.task.data, jax.random.key(0), 0)


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
    "no configuration": (
        lambda: who_hears_whom(Network(RING), rules.gts, None, np.zeros((5, 3)), jax.random.key(0)),
        TypeError,
        "config must be a GossipConfig, got Network",
    ),
    "no key": (
        lambda: who_hears_whom(GossipConfig(Network(RING)), rules.gts, None, np.zeros((5, 3)), 0),
        TypeError,
        "who_hears_whom needs a key as jax.random.key",
    ),
    "a step between steps": (
        lambda: who_hears_whom(
            GossipConfig(Network(RING)), rules.gts, None, np.zeros((5, 3)), jax.random.key(0), 0.5
        ),
        TypeError,
        "step must be an int, got 0.5",
    ),
    "what makes a rule": (
        lambda: gossiped(aggregators.safeguard),
        TypeError,
        r"rule must be a function of \(updates, f\), .* got safeguard, .* call it",
    ),
    "no attack to search": (
        lambda: searched(None),
        TypeError,
        "attack must be a function, such as simbyz.gossip.attacks.dissensus, got None",
    ),
    "no search": (lambda: searched(dissensus, search=None), TypeError, "search must be a function"),
    "rows that are not so equal": (
        lambda: searched(dissensus, equal_rows="no"),
        TypeError,
        "equal_rows must be True or False, got 'no'",
    ),
    "columns of sampled neighbours": (
        lambda: by_edge(Sampled(5, 3, 1)),
        TypeError,
        r"columns of edges and nodes are of a Network, got Sampled\(n=5",
    ),
    "columns of another network's edges": (
        lambda: stepped(columns=by_edge(Network(graphs.ring(7)))),
        ValueError,
        "of a network of 7 honest nodes, the run has 5: make them of the network that it runs on",
    ),
    "columns of another network's nodes": (
        lambda: stepped(columns=by_neighbourhood(Network(graphs.ring(7))), certify=True),
        ValueError,
        "of a network of 7 honest nodes, the run has 5: make them of the network that it runs on",
    ),
    "too few weights": (weighed(rules.gts, 4), ValueError, r"gts needs weights of shape \(5,\),"),
    "too many weights": (
        weighed(rules.remove_then_clip, 6),
        ValueError,
        r"remove_then_clip needs weights of shape \(5,\), .* own first, got \(6,\)",
    ),
    "one weight": (weighed(rules.ios, ()), ValueError, r"of shape \(5,\), .* got \(\)"),
    "weights in a column": (weighed(rules.gossip, (5, 1)), ValueError, r"got \(5, 1\)"),
    "no weights": (
        lambda: rules.clipped_gossip(ROWS, 1, weights=None),
        TypeError,
        "clipped_gossip needs a number for each row as weights, got None",
    ),
    "flags of some": (
        weighed(rules.oracle_clipping, 5, honest=np.ones(4, bool)),
        ValueError,
        r"oracle_clipping needs honest of shape \(5,\), .* got \(4,\)",
    ),
    "more than a whole": (
        lambda: rules.ubar(ROWS, 1, loss_of=jnp.sum, own_share=2),
        ValueError,
        "own_share of ubar must be from 0 to 1, got 2",
    ),
    "no losses": (lambda: rules.ubar(ROWS, 1, loss_of=None), TypeError, "loss_of of ubar must be"),
    "no device": (lambda: shard(gossiped(), []), ValueError, "devices must name at least one"),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(case):
    call, error, message = CALLS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error and "\n" not in str(caught.value)
