"""Every rule, pre-aggregator and attack goes with every option of a step, at one of the places of
momentum: traced, not run.
"""

import functools
import itertools

import jax
import pytest

from simbyz import aggregators, attacks
from simbyz.preaggregators import PREAGGREGATORS
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.tasks.problems import quadratic

pytestmark = pytest.mark.slower

N, F, KEY = 15, 2, jax.random.key(0)
OPTIONS = {
    "a few, by themselves, unstudied": dict(
        local_steps=2,
        participants=11,
        byzantine_participants=2,
        study=False,
        evaluate_every=None,
    ),
    "redrawn": dict(byzantine_gradients=True, redraw=True),
    "all": dict(
        local_steps=2,
        participants=12,
        byzantine_gradients=True,
        redraw=True,
        variance_reduction=True,
        nesterov=True,
        certify=True,
    ),
}
PLACES = ("worker", "update", "server")
# What rules, pre-aggregators and attacks can't do without.
NEEDED = {
    "centered_clipping": {"radius": 1.0},
    "fltrust": {"trusted": jax.numpy.ones(4)},
    "clipping": {"radius": 1.0},
    "bucketing": {"bucket_size": 2},
    "inner_product_manipulation": {"tau": 2.0},
    "hidden_vulnerability": {"factor": 2.0},
    "fang_krum": {"f": F},
    "anti_cge": {"f": F},
}


def ready(functions, name):
    return functools.partial(functions[name], **NEEDED.get(name, {}))


DEFENCES = {
    name: (ready(aggregators.AGGREGATORS, name), ready(aggregators.SELECTIONS, name))
    for name in aggregators.AGGREGATORS
} | {
    f"{name}, median": (aggregators.chain(ready(PREAGGREGATORS, name), aggregators.median), None)
    for name in PREAGGREGATORS
}


# Each defence with an attack, and each attack with several defences: what a rule is given does not
# go by which attack made it. "all" has chance, certificates and variance reduction.
PAIRS = list(zip(DEFENCES.values(), itertools.cycle(attacks.ATTACKS), strict=False))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_step_leaves_a_state_of_the_same_form(name):
    options = OPTIONS[name]
    both = options.get("local_steps", 1) > 1 and options.get("variance_reduction", False)
    places = itertools.cycle(PLACES[:1] if both else PLACES)
    for ((rule, selection), attack), place in zip(PAIRS, places, strict=False):
        config = Config(n=N, f=F, momentum_at=(place,), **options)
        task = quadratic(KEY, config.computing, 4, noise=0.1, heterogeneity=1.0).task
        attack = ready(attacks.ATTACKS, attack)
        simulator = make_simulator(config, task, rule, attack, selection=selection)
        hyperparameters = Hyperparameters(0.1, **{place: Momentum(0.5, 0.5)})

        def run(simulator=simulator, hyperparameters=hyperparameters, data=task.data):
            before = simulator.initialise(KEY)
            return before, simulator.advance(before, hyperparameters, data, KEY, 0, 2)[0]

        before, after = jax.eval_shape(run)
        assert jax.tree.structure(after) == jax.tree.structure(before)
        assert [leaf.shape for leaf in jax.tree.leaves(after)] == [
            leaf.shape for leaf in jax.tree.leaves(before)
        ]
