"""Byzantine workers that compute, mislabel, change from step to step, or learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_training import TARGET, quadratic, run

from simbyz import aggregators, attacks, data, models
from simbyz.attackers import Identities, identities, receive
from simbyz.attacks import DATA_ATTACKS
from simbyz.streams import BATCHES, INITIALISE, REDRAW, of_step
from simbyz.task import classification
from simbyz.training import Config, Hyperparameters, Momentum, make_simulator
from simbyz.workers import draw_batches, make_gradients

N, B, STEPS = 7, 2, 12


def little(key, honest, num_byzantine, *, own):
    """An attack that does not care what its workers computed."""
    del own
    return attacks.a_little_is_enough(key, honest, num_byzantine)


@pytest.mark.thorough
def test_the_honest_see_the_same_whether_others_compute_or_not():
    hyperparameters = Hyperparameters(0.2, worker=Momentum(0.9, 0.1))
    _, without = run(
        Config(n=N, f=B), hyperparameters, aggregators.median, attacks.a_little_is_enough, STEPS
    )
    _, beside = run(
        Config(n=N, f=B, byzantine_gradients=True),
        hyperparameters,
        aggregators.median,
        little,
        STEPS,
    )
    for name, column in without._asdict().items():
        np.testing.assert_allclose(
            getattr(beside, name), column, rtol=2e-5, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("redraw", [pytest.param(False, marks=pytest.mark.thorough), True])
@pytest.mark.parametrize("nesterov", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_against_numpy(redraw, nesterov):
    """Sign flipping of one's own vector, momentum included, written out; every worker has one."""
    rate, decay, clip = 0.1, 0.8, 1.5
    config = Config(n=N, f=B, byzantine_gradients=True, redraw=redraw, nesterov=nesterov)
    hyperparameters = Hyperparameters(
        rate, worker=Momentum(decay), clip=clip, attack={"scale": 0.5}
    )
    task = quadratic(noise=1.0)
    state, metrics = run(
        config, hyperparameters, aggregators.trimmed_mean, attacks.sign_flipping, STEPS, task
    )

    key = jax.random.key(0)
    theta = np.asarray(task.initialise(jax.random.fold_in(key, INITIALISE))[0], np.float64)
    batches_key = jax.random.fold_in(key, BATCHES)
    noises = np.asarray(task.batches(task.data, batches_key, 0, STEPS, N), np.float64)
    momenta = np.zeros((N, len(TARGET)))
    for step in range(STEPS):
        drawn = jax.random.permutation(of_step(key, REDRAW, step), N)
        byzantine = set(np.asarray(drawn)[N - B :]) if redraw else set(range(N - B, N))
        received, sampled, losses = [], [], []
        for i in range(N):
            point = theta - rate * decay * momenta[i] if nesterov else theta
            gradient = point - TARGET - noises[step, i]
            loss = np.sum(gradient**2) / 2
            gradient = gradient * min(1, clip / np.linalg.norm(gradient))
            momenta[i] = decay * momenta[i] + gradient
            if i in byzantine:
                received.append(-0.5 * momenta[i])
            else:
                received.append(momenta[i].copy())
                sampled.append(gradient)
                losses.append(loss)
        assert metrics.loss[step] == pytest.approx(np.mean(losses), rel=1e-4)
        norm = np.linalg.norm(np.mean(sampled, axis=0))
        assert metrics.sampled_norm[step] == pytest.approx(norm, rel=1e-4)
        sent = [received[i] for i in byzantine]
        norm = np.linalg.norm(np.mean(sent, axis=0))
        assert metrics.attack_norm[step] == pytest.approx(norm, rel=1e-4)
        theta = theta - rate * np.sort(received, axis=0)[B : N - B].mean(axis=0)
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.worker_momenta, momenta, rtol=1e-4, atol=1e-5)


def test_redrawn_identities():
    """Each step another draw, each worker as often; always n - h of them, all in order."""
    config = Config(n=N, f=1, num_byzantine=B, redraw=True)
    keys = jax.random.split(jax.random.key(0), 2000)
    honest, byzantine = jax.vmap(lambda key: identities(config, key))(keys)
    assert (honest.shape[1], byzantine.shape[1]) == (N - B, B)
    assert np.all(np.sort(np.concatenate([honest, byzantine], axis=1), axis=1) == np.arange(N))
    assert np.all(np.diff(honest, axis=1) > 0) and np.all(np.diff(byzantine, axis=1) > 0)
    shares = np.bincount(np.ravel(byzantine), minlength=N) / 2000
    np.testing.assert_allclose(shares, B / N, atol=6 * (B / N * (1 - B / N) / 2000) ** 0.5)
    fixed = identities(Config(n=N, f=1, num_byzantine=B), keys[0])
    np.testing.assert_array_equal(fixed.byzantine, [N - 2, N - 1])


def test_a_drawn_worker_is_replaced_in_its_place():
    config = Config(n=4, f=1, num_byzantine=2, redraw=True)
    vectors = jnp.arange(8.0).reshape(4, 2)
    who = Identities(jnp.asarray([1, 3]), jnp.asarray([0, 2]))
    received = receive(config, attacks.zero, jax.random.key(0), vectors, who, None, {})
    np.testing.assert_array_equal(received.stack, [[0, 0], [2, 3], [0, 0], [6, 7]])
    np.testing.assert_array_equal(received.honest, [[2, 3], [6, 7]])


@pytest.mark.thorough
def test_redrawn_crashes_leave_momenta_and_krum_alone():
    """Whoever is drawn sends NaN in that step, and is its old self in the next."""
    config = Config(n=9, f=2, redraw=True)
    state, metrics = run(
        config,
        Hyperparameters(0.2, worker=Momentum(0.5, 0.5)),
        aggregators.multi_krum,
        attacks.nan,
        selection=aggregators.multi_krum_selection,
    )
    assert np.isfinite(state.worker_momenta).all()
    assert np.linalg.norm(state.parameters - TARGET) < 0.3
    np.testing.assert_array_equal(metrics.attack_acceptance, 0)


@pytest.mark.thorough
@pytest.mark.parametrize("redraw", [False, True])
def test_the_share_of_byzantine_rows_in_the_average(redraw):
    _, metrics = run(
        Config(n=N, f=B, redraw=redraw),
        Hyperparameters(0.1),
        lambda stack, f: aggregators.average(stack),
        attacks.zero,
        steps=3,
        selection=lambda stack, f: jnp.where(jnp.all(stack == 0, axis=1), 2.0, 1.0) / len(stack),
    )
    np.testing.assert_allclose(metrics.attack_acceptance, 2 * B / N, rtol=1e-6)


def test_the_honest_read_the_same_batches():
    """Of a pass that all share, and of a partition among all."""
    few, many = Config(n=5, f=2), Config(n=5, f=2, byzantine_gradients=True)
    key = jax.random.key(4)
    for task in (digits(), digits()._replace(shared_pass=False)):
        alone, together = (
            np.asarray(draw_batches(config, task, task.data, key, 2, 40)) for config in (few, many)
        )
        assert together.shape == (40, 5, 10)
        assert np.array_equal(together[:, :3], alone) == task.shared_pass
    pass_of_others = together_of(many, digits(), key)
    assert np.all(np.bincount(pass_of_others.ravel(), minlength=1438)[:1437] == 1)


def together_of(config, task, key):
    """What the Byzantine workers read in their first pass, 72 steps of two batches."""
    return np.asarray(draw_batches(config, task, task.data, key, 0, 72))[:, config.honest :]


@functools.cache
def digits():
    return classification(data.load("digits"), models.Dense(hidden=8), batch_size=10)


@pytest.mark.parametrize("workers_at_once", [None, pytest.param(2, marks=pytest.mark.thorough)])
def test_mislabelled_gradients_are_those_of_mislabelled_examples(workers_at_once):
    """One worker after the other, with labels changed by hand where it is Byzantine."""
    task = digits()
    config = Config(n=4, f=2, byzantine_gradients=True, workers_at_once=workers_at_once)
    relabel = functools.partial(attacks.label_flipping, num_classes=10)
    parameters, model_state = task.initialise(jax.random.key(1))
    flat, unravel = jax.flatten_util.ravel_pytree(parameters)
    batches = task.batches(task.data, jax.random.key(2), 0, 1, 4)[0]
    gradients = jax.jit(make_gradients(config, task, unravel, relabel))
    rows, losses, _ = gradients(flat, 0.0, model_state, task.data, jax.random.key(3), 0, batches)

    flipped = task.data._replace(train_labels=9 - task.data.train_labels)

    @jax.jit
    def alone(arrays, batch):
        def loss(flat):
            return task.loss(arrays, unravel(flat), model_state, batch, jax.random.key(0))[0]

        return jax.value_and_grad(loss)(flat)

    for i in range(4):
        loss, row = alone(flipped if i >= 2 else task.data, batches[i])
        np.testing.assert_allclose(losses[i], loss, rtol=1e-5)
        np.testing.assert_allclose(rows[i], row, rtol=1e-4, atol=1e-6)


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_all_workers_byzantine_turn_their_own_gradients():
    config = Config(n=N, f=0, num_byzantine=N, byzantine_gradients=True, momentum_at=())
    _, metrics = run(
        config, Hyperparameters(0.1), aggregators.average, attacks.sign_flipping, steps=30
    )
    assert metrics.distance_from_start[-1] > 10 * metrics.distance_from_start[1]
    assert np.isnan(metrics.loss).all()
    assert np.isnan(metrics.sampled_norm).all() and np.isnan(metrics.curvature).all()
    np.testing.assert_allclose(metrics.attack_norm, metrics.aggregate_norm, rtol=1e-5)


@pytest.mark.thorough
def test_mimicking_copies_one_worker_after_the_warm_up():
    """Under heterogeneous optima, the average is drawn to the worker that is copied."""
    shifts = jnp.asarray([0.0, 0.0, 9.0, 0.0, 0.0])[:, None]
    equal = quadratic()

    def batches(arrays, key, first_step, num_steps, num_workers):
        return equal.batches(arrays, key, first_step, num_steps, num_workers) + 10 * shifts[None]

    config = Config(n=8, f=3, momentum_at=())
    state, metrics = run(
        config,
        Hyperparameters(0.2),
        aggregators.average,
        attacks.mimicking(warmup=5),
        task=equal._replace(batches=batches),
    )
    assert int(state.attack.worker) == 2
    assert int(state.attack.step) == 60
    # Five honest workers, of whom one has its optimum 9 away and counts four times.
    np.testing.assert_allclose(state.parameters, TARGET + 9 * 4 / 8, atol=0.3)
    np.testing.assert_allclose(metrics.attack_deviation, 0, atol=1e-4)


@pytest.mark.thorough
def test_relocating_starts_from_the_last_aggregate():
    config = Config(n=N, f=B)
    _, metrics = run(
        config,
        Hyperparameters(0.1, worker=Momentum(0.9, 0.1), attack={"size": 0.0}),
        functools.partial(aggregators.centered_clipping, radius=1.0),
        attacks.relocating(),
        steps=10,
    )
    assert metrics.attack_norm[0] == 0
    np.testing.assert_allclose(metrics.attack_norm[1:], metrics.aggregate_norm[:-1], rtol=1e-5)


@pytest.mark.thorough
def test_seeds_batch_over_all_of_it():
    """vmap over seeds: identities, labels and the attack's memory are each run's own."""
    task = digits()
    config = Config(n=5, f=1, byzantine_gradients=True, redraw=True)

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

    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    together = jax.jit(jax.vmap(final))(keys)
    alone = jax.jit(final)(keys[1])
    for many, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(many[1], one, rtol=1e-4, atol=1e-6)
        assert not np.allclose(many[0], many[1])


@pytest.mark.parametrize(
    ("options", "attack", "relabel", "message"),
    [
        ({}, None, None, "2 Byzantine workers need an attack, or byzantine_gradients to send"),
        ({"redraw": True}, None, None, "need an attack"),
        ({}, attacks.nan, lambda labels: labels, r"relabel needs Config\(byzantine_gradients"),
    ],
)
def test_refused(options, attack, relabel, message):
    with pytest.raises(ValueError, match=message):
        make_simulator(
            Config(n=5, f=2, **options),
            quadratic(),
            aggregators.median,
            attack,
            relabel=relabel,
        )
