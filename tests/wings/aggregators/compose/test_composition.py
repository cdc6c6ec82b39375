"""Every rule, pre-aggregator and attack goes with every option of a step, at each place of
momentum: traced, not run.
"""

import functools

import jax
import pytest

from simbyz import aggregators, attacks
from simbyz.preaggregators import PREAGGREGATORS
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.tasks.problems import quadratic

pytestmark = pytest.mark.slower

N, F, KEY = 15, 2, jax.random.key(0)
OPTIONS = {
    "local steps": dict(local_steps=2),
    "some of the workers": dict(participants=11, byzantine_participants=2),
    "some by chance": dict(participants=12, certify=True),
    "redrawn": dict(byzantine_gradients=True, redraw=True),
    "variance reduction": dict(variance_reduction=True),
    "without study": dict(participants=12, certify=True, study=False, evaluate_every=None),
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


def trace(options, place, rule, selection, attack):
    """A step leaves a state of the same form."""
    config = Config(n=N, f=F, momentum_at=(place,), **options)
    task = quadratic(KEY, config.computing, 4, noise=0.1, heterogeneity=1.0).task
    simulator = make_simulator(config, task, rule, attack, selection=selection)
    hyperparameters = Hyperparameters(0.1, **{place: Momentum(0.5, 0.5)})
    before = jax.eval_shape(simulator.initialise, KEY)

    def advance(state):
        return simulator.advance(state, hyperparameters, task.data, KEY, 0, 2)[0]

    after = jax.eval_shape(advance, before)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert [leaf.shape for leaf in jax.tree.leaves(after)] == [
        leaf.shape for leaf in jax.tree.leaves(before)
    ]


def places_of(options):
    both = options.get("local_steps", 1) > 1 and options.get("variance_reduction", False)
    return PLACES[:1] if both else PLACES


@pytest.mark.parametrize("name", OPTIONS)
def test_rules(name):
    for number, (rule, selection) in enumerate(DEFENCES.values()):
        places = places_of(OPTIONS[name])
        place = places[number % len(places)]
        trace(OPTIONS[name], place, rule, selection, attacks.a_little_is_enough)


@pytest.mark.parametrize("name", OPTIONS)
def test_attacks(name):
    for number, attack in enumerate(attacks.ATTACKS):
        places = places_of(OPTIONS[name])
        place = places[number % len(places)]
        trace(OPTIONS[name], place, aggregators.median, None, ready(attacks.ATTACKS, attack))
