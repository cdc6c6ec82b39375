"""The simulator with workers that count by the samples they hold, or claim to hold."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks, data
from simbyz.aggregators import WEIGHTED
from simbyz.aggregators.base import StatefulRule
from simbyz.data import partition
from simbyz.preaggregators import clipping
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.simulator.keys import REDRAW, of_step
from simbyz.simulator.participation import identities, participants
from simbyz.simulator.weighting import by_counts, masses_of
from simbyz.tasks import classification, models
from tests.reference.masses import BY_HAND, CONFIGURED, SELECTIONS, average_by_hand
from tests.support.compiled import quick_jit
from tests.wings.simulator.pulled import pulled

TARGETS = np.array([[0.0, 4.0], [1.0, 0.0], [2.0, 2.0], [5.0, 1.0], [3.0, -1.0]], np.float32)


def run(config, rule, attack=None, steps=1, task=None, rate=1.0, options=None, **more):
    task = pulled(TARGETS, (0, 0)) if task is None else task
    simulator = make_simulator(config, task, rule, attack, **more)
    key = jax.random.key(0)
    hyperparameters = Hyperparameters(learning_rate=rate, attack=options or {})

    @quick_jit
    def whole(data, hyperparameters):
        return simulator.advance(simulator.initialise(key), hyperparameters, data, key, 0, steps)

    return whole(task.data, hyperparameters)


COUNTS = np.array([10, 20, 30, 5, 100])


@pytest.mark.slower
@pytest.mark.parametrize("name", WEIGHTED)
def test_a_step_moves_to_what_the_masses_say(name):
    state, _ = run(
        Config(n=5, f=0, momentum_at=(), study=False),
        CONFIGURED[name],
        weights=by_counts(COUNTS),
        selection=SELECTIONS[name],
    )
    np.testing.assert_allclose(state.parameters, BY_HAND[name](TARGETS, COUNTS), rtol=1e-5)


@pytest.mark.slower
def test_a_step_through_a_chain():
    """Clipped first, then weighed; without and with all workers asked."""
    radius = 2.0
    rule = aggregators.chain(
        functools.partial(clipping, radius=radius), aggregators.weighted_median
    )
    lengths = np.maximum(np.linalg.norm(TARGETS, axis=1, keepdims=True), radius)
    expected = BY_HAND["weighted_median"](TARGETS * radius / lengths, COUNTS)
    for asked in (None, 5):
        config = Config(n=5, f=0, momentum_at=(), participants=asked, study=False)
        state, _ = run(config, rule, weights=by_counts(COUNTS))
        np.testing.assert_allclose(state.parameters, expected, rtol=1e-5)


def test_shares_keep_their_digits_in_double_precision():
    shares = np.array([0.1, 0.2, 0.3, 0.3, 0.7])  # none of which is a float32
    config = Config(n=5, f=1)
    with jax.enable_x64(True):
        part = participants(config, jax.random.key(0), 0)
        got = masses_of(config, by_counts(shares[:4], claimed=shares[4]), part)
    np.testing.assert_allclose(got, shares, rtol=1e-15)


@pytest.mark.parametrize(
    ("claim", "cap", "masses"),
    [
        (None, None, [10, 20, 30, 5, 100]),
        (1e6, None, [10, 20, 30, 1e6, 1e6]),
        (np.inf, 25, [10, 20, 25, 25, 25]),
        ([7, 8], None, [10, 20, 30, 7, 8]),
        (0, None, [10, 20, 30, 0, 0]),
    ],
)
def test_claims_and_caps(claim, cap, masses):
    config = Config(n=5, f=2)
    # Counts of all workers; or of the three that hold any, where the others claim theirs.
    for counts in (COUNTS, COUNTS[:3]) if claim is not None else (COUNTS,):
        weights = by_counts(counts, claimed=claim, cap=cap)
        got = masses_of(config, weights, participants(config, jax.random.key(0), 0))
        np.testing.assert_array_equal(got, np.float32(masses))


@pytest.mark.slower
def test_a_believed_claim_breaks_the_median_and_a_cap_mends_it():
    def distance(cap):
        state, _ = run(
            Config(n=5, f=1, momentum_at=(), study=False),
            aggregators.weighted_median,
            attacks.fall_of_empires,
            options={"factor": 1e3},
            weights=by_counts(COUNTS[:4], claimed=1e9, cap=cap),
        )
        return float(jnp.linalg.norm(state.parameters))

    assert distance(None) > 1e3
    assert distance(20) < 10


@pytest.mark.slower
def test_masses_go_with_the_workers_when_they_are_redrawn():
    """Byzantine workers claim 0, whoever they are: the average is that of the honest ones."""
    config = Config(n=5, f=2, redraw=True, momentum_at=(), study=False)
    rule = aggregators.weighted_average

    def attack(key, honest, count):
        return jnp.full((count, 2), 1e6)

    # Each step ends where its masses say. Draws that leave out the last two workers only, as
    # without redrawing, have one chance in 10.
    state, _ = run(config, rule, attack, steps=3, weights=by_counts(COUNTS, claimed=0))
    who = identities(config, of_step(jax.random.key(0), REDRAW, 2)).honest
    assert list(who) != [0, 1, 2]
    expected = np.average(TARGETS[who], axis=0, weights=COUNTS[who])
    np.testing.assert_allclose(state.parameters, expected, rtol=1e-5)


@pytest.mark.slower
def test_the_average_by_counts_is_the_mean_over_all_examples():
    """Full batches of unequal workers: one step is one of full-batch gradient descent."""
    digits = data.load("digits")
    made = partition.dirichlet(jax.random.key(0), digits.train_labels, 4, alpha=0.05, minimum=8)
    assert max(made.counts) > 2 * min(made.counts)
    size = int(max(made.counts))

    def task_of(made, size):
        return classification(digits, models.Dense(hidden=4), batch_size=size, partition=made)

    rule = aggregators.weighted_average
    config = Config(n=4, f=0, momentum_at=(), study=False)
    weights = by_counts(made.counts)
    state, _ = run(config, rule, task=task_of(made, size), weights=weights)
    whole, _ = run(
        Config(n=1, f=0, momentum_at=(), study=False), aggregators.average, task=task_of(None, 1437)
    )
    np.testing.assert_allclose(state.parameters, whole.parameters, rtol=1e-4, atol=1e-6)


def test_a_rule_with_memory_may_ask_for_masses():
    def step(stack, f, *, state, masses):
        return state / 2 + aggregators.weighted_average(stack, f, masses=masses)

    rule = StatefulRule(step, lambda zeros: zeros, lambda state, stack, aggregate: aggregate)
    state, _ = run(Config(n=5, f=0, momentum_at=(), study=False), rule, weights=by_counts(COUNTS))
    np.testing.assert_allclose(state.parameters, average_by_hand(TARGETS, COUNTS), rtol=1e-5)


WRONG = {
    "no weighted form": (
        aggregators.krum,
        by_counts(COUNTS),
        "krum takes no masses.*weighted_average, weighted_median, weighted_geometric_median",
    ),
    "a rule that asks": (aggregators.weighted_median, None, r"give weights=by_counts\(counts\)"),
    "counts of others": (aggregators.weighted_median, by_counts([1, 2, 3]), "of 5 workers, got 3"),
    "counts of some": (
        aggregators.weighted_median,
        by_counts([1, 2, 3], claimed=1),
        "of 5 or 4 workers, got 3",
    ),
    "claims of others": (
        aggregators.weighted_median,
        by_counts(COUNTS, claimed=[1, 2]),
        r"a number or \(1,\).*got \(2,\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_weights(case):
    rule, weights, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        make_simulator(
            Config(n=5, f=1), pulled(TARGETS, (0, 0)), rule, attacks.nan, weights=weights
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(counts=[[1, 2]]), r"finite numbers \(n,\)"),
        (dict(counts=[1, -2]), "from 0 on"),
        (dict(counts=[0, 0]), "one of them positive"),
        (dict(counts=[1, np.nan]), "finite numbers"),
        (dict(counts=[1, 2], claimed=-1), "claimed must be a number from 0 on"),
        (dict(counts=[1, 2], claimed=np.nan), "claimed must be a number from 0 on"),
        (dict(counts=[1, 2], cap=0), "cap must be positive or None, got 0"),
        (dict(counts=[1], claimed=np.inf), "finite.*given a cap"),
        # what float32 holds as 0 or as infinite
        (dict(counts=[1e-50]), "one of them positive"),
        (dict(counts=[1e300]), "finite numbers"),
        (dict(counts=[1], cap=1e-50), "cap must be positive or None"),
    ],
)
def test_refused_counts(arguments, message):
    with pytest.raises(ValueError, match=message):
        by_counts(**arguments)
