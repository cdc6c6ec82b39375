"""Steps in which nobody who takes part has a mass: they change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simbyz.aggregators import WEIGHTED, weighted_average
from simbyz.aggregators.base import StatefulRule
from simbyz.attacks.base import StatefulAttack
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.participation import participants
from simbyz.simulator.weighting import by_counts, may_vanish
from tests.support.compiled import quick_jit
from tests.wings.simulator.pulled import pulled

TARGETS = np.array([[0, 4], [1, 0], [2, 2], [5, 1], [3, -1], [7, 7]], np.float32)
COUNTS = np.array([0, 0, 0, 40, 20, 40])
KEY, RATE, DECAY, STEPS = jax.random.key(0), 0.25, 0.5, 12


def run(config, rule, attack=None, **more):
    task = pulled(TARGETS, (1, 1))
    simulator = make_simulator(config, task, rule, attack, **more)
    places = {place: Momentum(DECAY) for place in config.momentum_at}

    @quick_jit
    def whole(data):
        start = simulator.initialise(KEY)
        return simulator.advance(start, Hyperparameters(RATE, **places), data, KEY, 0, STEPS)

    return whole(task.data)


def by_hand(config):
    """Parameters and the masses of the steps, by loops in float64."""
    theta, momenta = np.ones(2), np.zeros((6, 2))
    update, last, masses = np.zeros(2), np.zeros(2), []
    for step in range(STEPS):
        who = np.asarray(participants(config, KEY, step).workers)
        masses.append(COUNTS[who].sum())
        if masses[-1] == 0:
            continue
        sent = []
        for worker in who:
            vector = theta - TARGETS[worker]
            if "worker" in config.momentum_at:
                vector = momenta[worker] = DECAY * momenta[worker] + vector
            if "server" in config.momentum_at:
                vector = vector + DECAY * last
            sent.append(vector)
        last = np.average(sent, axis=0, weights=COUNTS[who])
        update = DECAY * update + last if "update" in config.momentum_at else last
        theta = theta - RATE * update
    return theta, masses


@pytest.mark.slower
@pytest.mark.parametrize("places", [(), ("worker",), ("update",), ("server",)], ids=str)
def test_a_step_without_mass_changes_nothing(places):
    """Not the model, no momentum; the column says so."""
    config = Config(n=6, f=0, participants=2, momentum_at=places, study=False)
    state, metrics = run(config, weighted_average, weights=by_counts(COUNTS))
    expected, masses = by_hand(config)
    assert 0 < np.count_nonzero(np.array(masses) == 0) < STEPS
    np.testing.assert_array_equal(metrics.mass, masses)
    np.testing.assert_allclose(state.parameters, expected, rtol=1e-5)


@pytest.mark.slower
def test_variance_is_reduced_from_the_first_step_with_a_mass():
    """Before it no gradient counted, so that none is taken for the last one."""
    config = Config(
        n=6, f=0, participants=1, momentum_at=("update",), variance_reduction=True, study=False
    )
    who = [int(participants(config, KEY, step).workers[0]) for step in range(STEPS)]
    counts = np.arange(6) != who[0]
    state, metrics = run(config, weighted_average, weights=by_counts(counts))
    np.testing.assert_array_equal(metrics.mass, counts[who])
    theta, estimate, last = np.ones(2), np.zeros(2), None
    for worker in np.array(who)[counts[who]]:
        before = 0 if last is None else last - TARGETS[worker]
        now = theta - TARGETS[worker]
        estimate = now + DECAY * (estimate - before)
        theta, last = theta - RATE * estimate / (1 - DECAY), theta
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("name", WEIGHTED)
def test_the_whole_state_stays(name):
    """Memories of the rule, the attack and the optimiser count the steps that had a mass."""
    rule = StatefulRule(
        lambda stack, f, *, state, masses: WEIGHTED[name](stack, f, masses=masses),
        start=lambda zeros: jnp.int32(0),
        learn=lambda state, stack, aggregate: state + 1,
    )
    attack = StatefulAttack(
        start=lambda dimension: jnp.int32(0),
        send=lambda key, honest, count, state: (honest[:count], state + 1),
    )
    config = Config(n=6, f=1, participants=3, byzantine_participants=1, momentum_at=(), study=False)
    weights = by_counts(COUNTS[:5], claimed=0)
    state, metrics = run(config, rule, attack, weights=weights, optimizer=optax.adam(1.0))
    moved = np.count_nonzero(metrics.mass)
    assert 0 < moved < STEPS
    assert (state.rule, state.attack, state.server.optimizer[0].count) == (moved, moved, moved)
    assert np.all(np.isfinite(state.parameters))


@pytest.mark.slower
def test_masses_of_a_few_steps_only():
    """Byzantine workers that hold nearly all there is move the model; without them, the rest."""

    def attack(key, honest, count):
        return jnp.full((count, 2), 4.0)

    config = Config(n=6, f=2, participants=3, momentum_at=(), study=False)
    weights = by_counts([0, 0, 0, 1e-30, 0, 0], claimed=5)
    state, metrics = run(config, weighted_average, attack, weights=weights)
    theta = np.ones(2)
    for step in range(STEPS):
        part = participants(config, KEY, step)
        byzantine, only = np.asarray(part.byzantine), 3 in np.asarray(part.workers)
        mass = 5 * byzantine.sum()
        if mass:
            theta = theta - RATE * 4.0
        elif only:  # the only one who counts, however little
            theta = theta - RATE * (theta - TARGETS[3])
        assert float(metrics.mass[step]) == pytest.approx(mass + 1e-30 * only, rel=1e-6, abs=0)
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-5)


PART = {"participants": 2, "momentum_at": ()}


@pytest.mark.parametrize(
    ("config", "weights", "possible"),
    [
        (Config(n=6, f=0), by_counts(COUNTS), False),
        (Config(n=6, f=0, **PART), by_counts(COUNTS), True),
        (Config(n=6, f=0, **PART), by_counts([0, 1, 1, 1, 1, 1]), False),
        (Config(n=6, f=1, **PART), by_counts([0, 1, 1, 1, 1], claimed=0), True),
        (Config(n=6, f=3, redraw=True), by_counts(COUNTS, claimed=0), True),
        (Config(n=6, f=2, redraw=True), by_counts(COUNTS, claimed=0), False),
        (Config(n=6, f=3, redraw=True), by_counts(COUNTS), False),
    ],
)
def test_when_it_may_happen(config, weights, possible):
    """Runs where it can't, keep the program that they had."""
    assert may_vanish(config, weights) == possible


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        (Config(n=6, f=1), by_counts([0, 0, 0, 0, 0, 7], claimed=0)),
        (
            Config(n=6, f=1, participants=2, byzantine_participants=0),
            by_counts([0, 0, 0, 0, 0, 7]),
        ),
    ],
)
def test_what_is_certain_is_refused(config, weights):
    with pytest.raises(ValueError, match="nobody who takes part ever has a mass"):
        make_simulator(
            config,
            pulled(TARGETS, (1, 1)),
            weighted_average,
            lambda key, honest, b: honest[:b],
            weights=weights,
        )
