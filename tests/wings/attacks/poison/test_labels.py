"""Attacks on labels, in the simulator: Byzantine workers that compute, on examples mislabelled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks, data
from simbyz._arrays.calling import name_of
from simbyz.attacks import DATA_ATTACKS
from simbyz.attacks.base import sending
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.workers.gradients import draw_batches, make_gradients
from simbyz.tasks import classification, models
from tests.support.compiled import quick_jit
from tests.wings.simulator.quadratic import run


@functools.cache
def digits():
    return classification(data.load("digits"), models.Dense(hidden=8), batch_size=10)


@pytest.mark.slower
def test_the_honest_read_the_same_batches():
    """And the others, from a pass of their own, every example once: 72 steps of two batches."""
    few, many = Config(n=5, f=2), Config(n=5, f=2, byzantine_gradients=True)
    task, key = digits(), jax.random.key(4)

    @jax.jit
    def drawn(arrays):
        return [draw_batches(config, task, arrays, key, 0, 72) for config in (few, many)]

    alone, together = map(np.asarray, drawn(task.data))
    assert together.shape == (72, 5, 10)
    np.testing.assert_array_equal(together[:, :3], alone)
    assert np.all(np.bincount(together[:, 3:].ravel(), minlength=1438)[:1437] == 1)


@pytest.mark.parametrize("workers_at_once", [None, pytest.param(2, marks=pytest.mark.slower)])
def test_mislabelled_gradients_are_those_of_mislabelled_examples(workers_at_once):
    """One worker after the other, with labels changed by hand where it is Byzantine."""
    task = digits()
    config = Config(n=4, f=2, byzantine_gradients=True, workers_at_once=workers_at_once)
    relabel = functools.partial(attacks.label_flipping, num_classes=10)
    parameters, model_state = jax.jit(task.initialise)(jax.random.key(1))
    flat, unravel = jax.flatten_util.ravel_pytree(parameters)
    batches = jax.jit(lambda: task.batches(task.data, jax.random.key(2), 0, 1, 4))()[0]
    simulator = make_simulator(config, task, aggregators.median, None, relabel=relabel)

    @quick_jit
    def gradients(flat, batches):
        state, given = simulator.start(flat, model_state), Hyperparameters(0.1, worker=Momentum())
        now = simulator.round(state, given, jax.random.key(3), 0)
        take = make_gradients(config, task, unravel, relabel)
        return take(flat, now._replace(data=task.data, batch=batches))

    rows, _, losses, *_ = gradients(flat, batches)

    flipped = task.data._replace(train_labels=9 - task.data.train_labels)

    @quick_jit
    def alone(arrays, batch):
        def loss(flat):
            return task.loss(arrays, unravel(flat), model_state, batch, jax.random.key(0))[0]

        return jax.value_and_grad(loss)(flat)

    for i in range(4):
        loss, row = alone(flipped if i >= 2 else task.data, batches[i])
        np.testing.assert_allclose(losses[i], loss, rtol=1e-5)
        np.testing.assert_allclose(rows[i], row, rtol=1e-4, atol=1e-6)


@pytest.mark.slower
def test_a_majority_of_mislabelled_examples_teaches_the_wrong_digits():
    """With every worker Byzantine, 9 - y is learned as well as y is without; nobody is honest."""
    accuracies = {}
    for present in (0, 4):
        config = Config(
            n=4, f=0, num_byzantine=present, byzantine_gradients=True, evaluate_every=120
        )
        _, metrics = run(
            config,
            Hyperparameters(0.1, worker=Momentum(0.9)),
            aggregators.average,
            None,
            steps=121,
            task=digits(),
            relabel=functools.partial(attacks.label_flipping, num_classes=10),
        )
        accuracies[present] = metrics.accuracy[120]
        assert np.isfinite(metrics.loss).all() == (present == 0)
        assert np.isfinite(metrics.aggregate_norm).all()
        assert np.isfinite(metrics.attack_norm).all() == (present == 4)
    assert accuracies[0] > 0.75
    assert accuracies[4] < 0.05


def test_label_maps():
    labels = jnp.arange(10)
    flipped, shifted, targeted = (
        attack(labels, 10, **options)
        for attack, options in zip(
            DATA_ATTACKS.values(), ({}, {}, {"source": 3, "target": 7}), strict=True
        )
    )
    np.testing.assert_array_equal(flipped, labels[::-1])
    np.testing.assert_array_equal(shifted, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
    np.testing.assert_array_equal(targeted, [0, 1, 2, 7, 4, 5, 6, 7, 8, 9])
    assert all(mapped.dtype == labels.dtype for mapped in (flipped, shifted, targeted))
    with pytest.raises(ValueError, match="must be from 0 to 9, got 3 and 10"):
        attacks.targeted_label_flipping(labels, 10, source=3, target=10)


@pytest.mark.slower
def test_seeds_batch_over_all_of_it():
    """vmap over seeds: identities, labels and the attack's memory are each run's own."""
    task = digits()
    config = Config(n=5, f=1, byzantine_gradients=True, redraw=True, study=False)

    def send(key, honest, num_byzantine, state, *, own):
        del key, num_byzantine
        return own + state[None], state + honest[0]

    simulator = make_simulator(
        config,
        task,
        aggregators.median,
        attacks.mimicking(warmup=2)._replace(start=jnp.zeros, send=send),
        relabel=functools.partial(attacks.label_shifting, num_classes=10),
    )
    hyperparameters = Hyperparameters(0.1, worker=Momentum(0.9))

    def final(key):
        state = simulator.initialise(key)
        state, _ = simulator.advance(state, hyperparameters, task.data, key, 0, 4)
        return state.parameters, state.attack

    keys = jax.random.split(jax.random.key(0), 2)
    together = quick_jit(jax.vmap(final))(keys)
    alone = quick_jit(final)(keys[1])
    for many, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(many[1], one, rtol=1e-4, atol=1e-6)
        assert not np.allclose(many[0], many[1])


def test_a_data_attack_knows_all_classes_of_the_task():
    task = classification(data.load("digits"), models.Dense(hidden=4), batch_size=5)
    config = Config(n=5, f=1, byzantine_gradients=True)

    def made(**options):
        return make_simulator(config, task, aggregators.median, **options)

    few = functools.partial(attacks.label_flipping, num_classes=5)
    with pytest.raises(ValueError, match="label_flipping needs labels from 0 to .* = 4, got 5"):
        made(attack=None, relabel=functools.partial(few))
    assert made(attack=None, relabel=functools.partial(few, num_classes=10))


@pytest.mark.parametrize("name", ["neurotoxin", "poisoned_fl", "xfed", "free_riding", "relocating"])
def test_an_attack_with_a_memory_has_its_name_in_errors(name):
    assert name_of(sending(getattr(attacks, name)())) == name
