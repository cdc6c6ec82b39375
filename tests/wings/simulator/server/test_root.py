"""Data at the server: rules that judge rows by examples of its own, in whole runs."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.aggregators import chain, fltrust, loss_function_rejection, zeno
from simbyz.data import Dataset
from simbyz.data.root import draw, hold_out
from simbyz.preaggregators import nearest_neighbor_mixing
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.sweeps import Lane, sweep
from simbyz.tasks import Task, classification
from tests.support.compiled import quick_jit

D, N, F, RATE = 3, 7, 2, 0.1
RNG = np.random.default_rng(0)
OWN = RNG.normal(size=(5, D)).astype(np.float32)  # what the server holds
TARGETS = RNG.normal(size=(40, D)).astype(np.float32)


def squares(parameters, targets):
    return jnp.mean(jnp.sum(jnp.square(parameters[None] - targets), axis=1)) / 2


# Each worker's batch is some of the targets; the gradient is θ - their mean.
quadratic = Task(
    data={"targets": TARGETS, "own": OWN},
    initialise=lambda key: (jnp.array([3.0, -1.0, 0.5]), {}),
    batches=lambda data, key, first, steps, workers: jax.random.randint(
        jax.random.fold_in(key, first), (steps, workers, 2), 0, 40
    ),
    loss=lambda data, parameters, state, batch, key: (
        squares(parameters, data["targets"][batch]),
        state,
    ),
    accuracy=lambda data, parameters, state, key: -squares(parameters, data["targets"]),
    batch_size=2,
    root_loss=lambda data, parameters, state, key: squares(parameters, data["own"]),
)


def reverse(key, honest, num_byzantine):
    return -3 * jnp.broadcast_to(honest.mean(axis=0), (num_byzantine, honest.shape[1]))


def numpy_loss(parameters):
    return np.mean(np.sum((parameters - OWN) ** 2, axis=1)) / 2


def numpy_fltrust(rows, parameters, clip, l2):
    trusted = parameters - OWN.mean(axis=0) + l2 * parameters / np.linalg.norm(parameters)
    trusted *= min(1, clip / np.linalg.norm(trusted))
    total, weight = np.zeros(D), 0.0
    for row in rows:
        cosine = max(0, row @ trusted / np.linalg.norm(row) / np.linalg.norm(trusted))
        total += cosine * row * np.linalg.norm(trusted) / np.linalg.norm(row)
        weight += cosine
    return total / weight


def numpy_zeno(rows, parameters, clip, l2, penalty=0.3):
    def score(row):
        at = [parameters, parameters - RATE * row]
        before, after = [numpy_loss(one) + l2 * np.linalg.norm(one) for one in at]
        return before - after - penalty * row @ row

    best = sorted(range(N), key=lambda i: -score(rows[i]))[: N - F]
    return np.mean([rows[i] for i in best], axis=0)


def numpy_rejection(rows, parameters, clip, l2):
    def loss(some):
        point = parameters - RATE * np.mean([rows[i] for i in some], axis=0)
        return numpy_loss(point) + l2 * np.linalg.norm(point)

    everyone = list(range(N))
    impact = [loss(everyone) - loss([j for j in everyone if j != i]) for i in everyone]
    left = sorted(everyone, key=lambda i: impact[i])[: N - F]
    return np.mean([rows[i] for i in left], axis=0)


RULES = {
    "fltrust": (fltrust, numpy_fltrust),
    "zeno": (functools.partial(zeno, penalty=0.3), numpy_zeno),
    "loss_function_rejection": (loss_function_rejection, numpy_rejection),
}


def simulate(rule, attack, steps=12, task=quadratic):
    simulator = make_simulator(Config(N, F, momentum_at=(), study=False), task, rule, attack)
    key = jax.random.key(1)

    @quick_jit
    def run(data):
        state = simulator.initialise(key)
        return simulator.advance(state, Hyperparameters(RATE), data, key, 0, steps)[0]

    return run(task.data)


@pytest.mark.slower
@pytest.mark.parametrize("name", RULES)
def test_runs_as_written_from_the_paper(name):
    rule, reference = RULES[name]
    clip, l2 = 1.5, 0.1
    simulator = make_simulator(Config(N, F, momentum_at=()), quadratic, rule, reverse)
    key = jax.random.key(1)

    @quick_jit
    def advance(state, data, step):
        drawn = quadratic.batches(data, jax.random.fold_in(key, 1), step, 1, N - F)
        numbers = Hyperparameters(RATE, clip=clip, l2=l2)
        return drawn[0], simulator.advance(state, numbers, data, key, step, 1)[0]

    state = quick_jit(simulator.initialise)(key)
    expected = np.array([3.0, -1.0, 0.5])
    for step in range(12):
        drawn, state = advance(state, quadratic.data, np.int32(step))
        rows = expected - TARGETS.astype(np.float64)[drawn].mean(axis=1)
        rows += l2 * expected / np.linalg.norm(expected)
        rows *= np.minimum(1, clip / np.linalg.norm(rows, axis=1))[:, None]
        rows = np.concatenate([rows, np.repeat(-3 * rows.mean(axis=0)[None], F, axis=0)])
        expected = expected - RATE * reference(rows, expected, clip, l2)
        np.testing.assert_allclose(state.parameters, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.slower
def test_of_a_root_set_that_is_all_data_fltrust_follows_the_full_gradient():
    task = quadratic._replace(root_loss=lambda data, parameters, *_: squares(parameters, TARGETS))
    same = task._replace(
        loss=lambda data, parameters, state, batch, key: (squares(parameters, TARGETS), state)
    )
    reached = simulate(fltrust, reverse, task=same).parameters
    np.testing.assert_allclose(
        reached, simulate(aggregators.median, reverse, task=same).parameters, rtol=1e-5
    )


@pytest.mark.slower
def test_behind_a_pre_aggregator():
    rule = chain(nearest_neighbor_mixing, fltrust)
    assert np.all(np.isfinite(simulate(rule, reverse, steps=2).parameters))


@pytest.mark.slower
def test_an_attack_that_knows_the_root_set():
    def against(key, honest, num_byzantine, *, trusted):
        return jnp.broadcast_to(-trusted, (num_byzantine, trusted.size))

    def guessed(key, honest, num_byzantine):
        return jnp.broadcast_to(-honest.mean(axis=0), (num_byzantine, honest.shape[1]))

    known = simulate(aggregators.average, against, steps=1).parameters
    assert not np.allclose(known, simulate(aggregators.average, guessed, steps=1).parameters)


@pytest.mark.slower
def test_a_search_against_the_rule_with_and_without_the_root_set():
    honest, trusted = TARGETS[:5], OWN.mean(axis=0)
    key = jax.random.key(0)
    knowing = attacks.adaptive("little", fltrust)
    guessing = attacks.adaptive("little", fltrust, knows_root=False)

    def by_hand(honest, trusted):
        attack = attacks.adaptive("little", functools.partial(fltrust, trusted=trusted))
        return attack(key, honest, 2)

    @quick_jit
    def sent(honest, trusted):
        known = knowing(key, honest, 2, trusted=trusted), by_hand(honest, trusted)
        return known, (guessing(key, honest, 2), by_hand(honest, honest.mean(axis=0)))

    for rows, expected in sent(honest, trusted):
        np.testing.assert_array_equal(rows, expected)
    reached = [simulate(fltrust, one, steps=1).parameters for one in (knowing, guessing)]
    assert np.all(np.isfinite(reached))
    with pytest.raises(ValueError, match="zeno asks for root"):
        attacks.adaptive("little", zeno, knows_root=False)


EIGHT = Dataset(
    "eight",
    RNG.integers(0, 255, (60, 2, 2, 1)).astype(np.uint8),
    np.arange(60, dtype=np.int32) % 2,
    RNG.integers(0, 255, (10, 2, 2, 1)).astype(np.uint8),
    np.arange(10, dtype=np.int32) % 2,
    num_classes=2,
    scale=255.0,
    mean=(0.5,),
    deviation=(0.25,),
    flip=False,
)


class Linear(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(2)(images.reshape(len(images), -1))


def images(root, dataset=EIGHT):
    return classification(dataset, Linear(), batch_size=4, root=root)


@pytest.mark.slower
def test_the_loss_on_images_is_that_of_a_batch_of_them():
    numbers = draw(jax.random.key(0), EIGHT.train_labels, 9)
    task = images(numbers)
    rest, root = hold_out(EIGHT, numbers)
    apart = images(root, rest)
    assert len(rest.train_labels) == 51

    @quick_jit
    def losses(data, data_apart, numbers):
        given, key = task.initialise(jax.random.key(1)), jax.random.key(2)
        batch, _ = task.loss(data, *given, numbers, key)
        return batch, task.root_loss(data, *given, key), apart.root_loss(data_apart, *given, key)

    batch, own, held_out = losses(task.data, apart.data, numbers)
    np.testing.assert_allclose(own, batch, rtol=1e-6)
    np.testing.assert_allclose(held_out, own, rtol=1e-6)


@pytest.mark.slower
def test_the_same_alone_beside_others_and_after_a_stop():
    task = images(draw(jax.random.key(0), EIGHT.train_labels, 9))
    simulator = make_simulator(
        Config(N, F, momentum_at=(), evaluate_every=2, study=False),
        task,
        zeno,
        attacks.sign_flipping,
    )
    lanes = [Lane(seed, Hyperparameters(rate)) for seed, rate in ((1, 0.1), (2, 0.3))]
    beside = list(sweep(simulator, lanes, task.data, steps=4, width=2))
    again = list(sweep(simulator, [lanes[1]], task.data, steps=4, width=2))
    np.testing.assert_array_equal(beside[1].parameters, again[0].parameters)

    advance, key = jax.jit(simulator.advance, static_argnums=5), jax.random.key(3)
    begin, numbers = jax.jit(simulator.initialise)(key), Hyperparameters(0.1)
    whole, _ = advance(begin, numbers, task.data, key, 0, 4)
    half, _ = advance(begin, numbers, task.data, key, 0, 2)
    resumed, _ = advance(half, numbers, task.data, key, 2, 2)
    np.testing.assert_array_equal(whole.parameters, resumed.parameters)


def other(**changes):
    return dataclasses.replace(EIGHT, **changes)


WRONG = {
    "none at all": (lambda: images([]), "at least 1 training example"),
    "no numbers": (lambda: images(["a"]), "Dataset, or the numbers"),
    "shares": (lambda: images([0.5]), "Dataset, or the numbers"),
    "past the end": (lambda: images([60]), "from 0 to 59.*got 60"),
    "below 0": (lambda: images([-1]), "got -1"),
    "twice": (lambda: images([3, 3]), "twice"),
    "one number": (lambda: images(3), "one list"),
    "draw 0": (lambda: draw(jax.random.key(0), EIGHT.train_labels, 0), "from 1 to 60.*got 0"),
    "draw more": (lambda: draw(jax.random.key(0), EIGHT.train_labels, 61), "from 1 to 60"),
    "draw half": (lambda: draw(jax.random.key(0), EIGHT.train_labels, 0.5), "size must be an int"),
    "draw by 0": (lambda: draw(0, EIGHT.train_labels, 3), "needs a key"),
    "all held out": (lambda: hold_out(EIGHT, np.arange(60)), "the workers have none"),
    "other classes": (lambda: images(other(num_classes=3)), "in 2 classes, got .* in 3"),
    "rule without": (
        lambda: make_simulator(Config(N, F), images(None), fltrust, reverse),
        "fltrust asks for trusted.*classification",
    ),
    "attack without": (
        lambda: make_simulator(
            Config(N, F),
            images(None),
            aggregators.median,
            lambda key, honest, num_byzantine, *, root: honest[:num_byzantine],
        ),
        "asks for root",
    ),
    "apply": (
        lambda: (
            lambda simulator: simulator.apply(
                simulator.initialise(jax.random.key(0)),
                Hyperparameters(0.1),
                jax.random.key(0),
                0,
                jnp.ones((N - F, D)),
                jnp.ones(N - F),
            )
        )(make_simulator(Config(N, F, momentum_at=()), quadratic, zeno, reverse)),
        "apply has none",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_refused(case):
    make, words = WRONG[case]
    with pytest.raises((TypeError, ValueError), match=words) as refused:
        make()
    assert "\n" not in str(refused.value)
