"""Attacks by past aggregates, against their definitions, and labels that a model likes least."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from simbyz import aggregators
from simbyz._arrays.calling import asks_for
from simbyz.attacks import dynamic_label_flipping, poisoned_fl, xfed
from simbyz.data import Dataset
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.simulator.workers.gradients import make_gradients
from simbyz.tasks import classification
from tests.support.compiled import quick_jit
from tests.wings.simulator.quadratic import run

RNG = np.random.default_rng(0)
D, T = 200, 14
AGGREGATES = RNG.normal(size=(T, D)).astype(np.float32)
HONEST = jnp.asarray(RNG.normal(size=(3, D)), jnp.float32)


@functools.cache
def steps(attack):
    """What is sent in each step and the last memory, in one program."""

    def step(state, given, options):
        number, aggregate = given
        made, state = attack.send(jax.random.key(number), HONEST, 4, state, **options)
        return attack.learn(state, aggregate), made

    def all_steps(aggregates, options):
        given = jnp.arange(len(aggregates)), aggregates
        return jax.lax.scan(functools.partial(step, options=options), attack.start(D), given)

    return quick_jit(all_steps)


def told(attack, aggregates, **options):
    """What is sent in each step, (T, count, d), and the last memory."""
    state, rows = steps(attack)(aggregates, options)
    return np.asarray(rows), state


@pytest.mark.slower
def test_consistent_signs_as_written_from_the_paper():
    rows, _ = told(poisoned_fl(2.0, period=3, shrink=0.5, least=0.4), AGGREGATES)
    signs = np.sign(rows[1, 0])
    last, factor, moved, sent = np.zeros(D), 2.0, np.zeros(D), np.zeros(D)
    factors = []
    for step, aggregate in enumerate(AGGREGATES.astype(np.float64)):
        length = np.linalg.norm(last)
        before = np.linalg.norm(sent)
        apart = np.abs(last - sent * length / before) if before else np.abs(last)
        size = np.linalg.norm(apart)
        sent = factor * length * (apart / size if size else apart) * signs
        np.testing.assert_allclose(rows[step], np.tile(sent, (4, 1)), rtol=1e-5, atol=1e-6)
        last, moved = aggregate, moved + aggregate
        factors.append(factor)
        if (step + 1) % 3 == 0:
            few = np.sum(np.sign(moved) == signs) < binom.ppf(0.99, D, 0.5)
            if few and factor * 0.5 >= 0.4:
                factor *= 0.5
            moved = np.zeros(D)
    assert factors[0] == 2 and factors[-1] == 0.5  # it gave up twice, and no further


def test_who_succeeds_does_not_give_up():
    attack = poisoned_fl(2.0, period=3)
    rows, _ = told(attack, AGGREGATES)
    signs = np.sign(rows[1, 0])
    rows, state = told(attack, np.abs(AGGREGATES) * signs)
    assert state.factor == 2
    np.testing.assert_array_equal(np.sign(rows[-1, 0]), signs)
    np.testing.assert_array_equal(rows[0], 0)


def test_signs_are_drawn_in_the_first_step_with_attackers():
    """With three of five workers in a step, none of whom is Byzantine in the first two."""
    config = Config(n=5, f=1, participants=3, momentum_at=(), evaluate_every=None)
    numbers = Hyperparameters(0.1)
    attack = poisoned_fl(2.0, period=2, shrink=0.5)
    _, metrics = run(config, numbers, aggregators.average, attack, 9, seed=12)
    norms, there = np.asarray(metrics.aggregate_norm), ~np.isnan(metrics.attack_norm)
    assert not there[:2].any() and there.sum() >= 2
    first = np.flatnonzero(there)[0]
    # Nothing was sent before, and who had no part has not failed: c is what it was.
    np.testing.assert_allclose(metrics.attack_norm[first], 2 * norms[first - 1], rtol=1e-5)
    assert np.all(np.asarray(metrics.attack_norm)[there] > 0)


def test_own_vectors_turned_by_the_length_of_past_aggregates():
    own = RNG.normal(size=(4, D)).astype(np.float32)
    rows, _ = told(xfed(1.5, window=5), AGGREGATES, own=jnp.asarray(own))
    np.testing.assert_array_equal(rows[0], own)
    for step in range(1, T):
        norms = np.linalg.norm(AGGREGATES[max(0, step - 5) : step].astype(np.float64), axis=1)
        middle = np.median(norms)
        length = middle + 1.5 * np.median(np.abs(norms - middle))
        units = own / np.linalg.norm(own, axis=1, keepdims=True)
        np.testing.assert_allclose(rows[step], own - length * units, rtol=1e-5, atol=1e-6)
    rows, _ = told(xfed(window=5), AGGREGATES[:1])
    np.testing.assert_array_equal(rows[0], HONEST[jnp.array([0, 1, 2, 0])])


@pytest.mark.parametrize("attack", [poisoned_fl(2.0, period=3), xfed(1.5, window=3)])
@pytest.mark.parametrize("scale", [2.0**-90, 2.0**-66, 2.0**66, 2.0**110])
def test_a_power_of_two_changes_nothing_but_the_scale(attack, scale):
    own = jnp.asarray(HONEST)[jnp.array([0, 1, 2, 0])]
    options = {"own": own} if asks_for(attack.send, "own") else {}
    scaled = {name: np.float32(scale) * value for name, value in options.items()}
    expected, _ = told(attack, AGGREGATES[:4], **options)
    got, _ = told(attack, np.float32(scale) * AGGREGATES[:4], **scaled)
    np.testing.assert_allclose(got / scale, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize("attack", [poisoned_fl(1.0, period=2), xfed()], ids=["poisoned", "xfed"])
def test_in_a_run(attack):
    config, numbers = Config(n=5, f=1, momentum_at=(), study=False), Hyperparameters(0.1)
    state, _ = run(config, numbers, aggregators.average, attack, 6)
    clean, _ = run(config, numbers, aggregators.average, attack, 1)
    assert np.all(np.isfinite(state.parameters)) and np.any(state.parameters != clean.parameters)


class Linear(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(4)(images.reshape(len(images), -1))  # one logit more than classes


def images():
    def split(count):
        pixels = RNG.integers(0, 255, (count, 2, 2, 1)).astype(np.uint8)
        return pixels, (np.arange(count) % 3).astype(np.int32)

    about = {"num_classes": 3, "scale": 255.0, "mean": (0.5,), "deviation": (0.25,), "flip": False}
    return classification(Dataset("few", *split(30), *split(6), **about), Linear(), batch_size=5)


def test_the_class_that_is_least_likely():
    logits = jnp.asarray([[0.0, 2.0, -1.0, -9.0], [3.0, 1.0, 2.0, -9.0], [1.0, 1.0, 1.0, 0.0]])
    got = dynamic_label_flipping(jnp.array([0, 1, 2]), 3, logits=logits)
    np.testing.assert_array_equal(got, [2, 1, 0])


@pytest.mark.slower
def test_byzantine_workers_learn_the_class_that_their_model_likes_least():
    task = images()
    config = Config(n=3, f=1, byzantine_gradients=True, momentum_at=())
    simulator = make_simulator(config, task, aggregators.average, None)
    relabel = functools.partial(dynamic_label_flipping, num_classes=3)
    state = simulator.initialise(jax.random.key(0))
    parameters = simulator.unravel(state.parameters)
    now = simulator.round(state, Hyperparameters(0.1), jax.random.key(1), 0)
    batch = jnp.arange(15).reshape(3, 5)
    now = now._replace(data=task.data, batch=batch)
    sent = make_gradients(config, task, simulator.unravel, relabel)(state.parameters, now)
    plain = make_gradients(config, task, simulator.unravel)(state.parameters, now)
    np.testing.assert_array_equal(sent.vectors[:2], plain.vectors[:2])

    pixels = np.asarray(task.data.train_images).view(np.uint8).reshape(30, 4)[10:15]
    kernel, bias = (np.asarray(parameters["Dense_0"][name]) for name in ("kernel", "bias"))
    logits = ((pixels / 255 - 0.5) / 0.25) @ kernel + bias
    least = logits[:, :3].argmin(axis=1)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        sent.losses[2], -np.mean(np.log(shares[np.arange(5), least])), rtol=1e-5
    )
    errors = shares - np.eye(4)[least]
    np.testing.assert_allclose(
        simulator.unravel(sent.vectors[2])["Dense_0"]["bias"], errors.mean(axis=0), atol=1e-6
    )


WRONG = {
    "no period": (lambda: poisoned_fl(period=0), "poisoned_fl needs period >= 1, got period=0"),
    "shrink": (lambda: poisoned_fl(shrink=-0.1), "shrink >= 0"),
    "factor": (lambda: poisoned_fl(np.nan), "factor >= 0"),
    "no window": (lambda: xfed(window=0), "xfed needs window >= 1"),
    "spread": (lambda: xfed(-1.0), "spread >= 0"),
    "few logits": (
        lambda: dynamic_label_flipping(jnp.array([0]), 3, logits=jnp.zeros((1, 2))),
        "needs a logit a class, 3, got 2",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_refused(case):
    make, words = WRONG[case]
    with pytest.raises(ValueError, match=words):
        make()


def test_a_factor_has_all_digits_in_double_precision():
    with jax.enable_x64(True):
        assert float(poisoned_fl(factor=0.1).start(3).factor) == 0.1
