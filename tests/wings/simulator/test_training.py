"""The simulator against its laws and against plain NumPy."""

import functools
import itertools
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks, data
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.keys import BATCHES, INITIALISE
from simbyz.sweeps import Lane, sweep
from simbyz.tasks import classification, models
from tests.support.compiled import quick_jit
from tests.wings.simulator.quadratic import TARGET, quadratic, run


def distance(state):
    return float(jnp.linalg.norm(state.parameters - TARGET))


PLACES = {
    "worker": {"worker": Momentum(0.9, 0.1)},
    "update": {"update": Momentum(0.9, 0.1)},
    "server": {"server": Momentum(0.9, 0.1)},
    "none": {},
}


@pytest.mark.slower
@pytest.mark.parametrize(
    ("place", "nesterov"), [("none", False), *itertools.product(list(PLACES)[:-1], [False, True])]
)
def test_without_attack_the_optimum_is_reached(place, nesterov):
    at = () if place == "none" else (place,)
    config = Config(n=8, f=0, momentum_at=at, nesterov=nesterov)
    hyperparameters = Hyperparameters(learning_rate=0.2, **PLACES[place])
    state, metrics = run(config, hyperparameters, aggregators.average, None, steps=200)
    assert distance(state) < 0.15
    assert np.isnan(metrics.attack_norm).all()


@pytest.mark.slower
def test_one_attacker_carries_the_average_away_and_not_the_median():
    config = Config(n=8, f=1, momentum_at=(), study=False)
    attack = attacks.fall_of_empires
    hyperparameters = Hyperparameters(learning_rate=0.2, attack={"factor": 30.0})
    averaged, _ = run(config, hyperparameters, aggregators.average, attack)
    defended, _ = run(config, hyperparameters, aggregators.median, attack)
    assert distance(averaged) > 1e3
    assert distance(defended) < 0.3


@pytest.mark.slower
def test_a_crashed_worker_does_not_stop_krum():
    config = Config(n=8, f=1, num_byzantine=1, momentum_at=("worker",))
    hyperparameters = Hyperparameters(learning_rate=0.2, worker=Momentum(0.5, 0.5))
    state, metrics = run(
        config,
        hyperparameters,
        aggregators.multi_krum,
        attacks.nan,
        selection=aggregators.multi_krum_selection,
    )
    assert distance(state) < 0.3
    np.testing.assert_array_equal(metrics.attack_acceptance, 0)


@pytest.mark.slower
def test_fewer_attackers_than_tolerated():
    config = Config(n=9, f=3, num_byzantine=1, momentum_at=(), study=False)
    assert (config.honest, config.byzantine) == (8, 1)
    hyperparameters = Hyperparameters(learning_rate=0.2, attack={"factor": 5.0})
    state, _ = run(config, hyperparameters, aggregators.trimmed_mean, attacks.fall_of_empires)
    assert distance(state) < 0.3


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("place", ["worker", "update", "server"])
def test_against_numpy(place, nesterov):
    """30 steps of the protocol, with clipping, l2 term, weight decay and a schedule, written out in
    NumPy.
    """
    n, f, rate, decay, clip, l2, weight_decay = 7, 2, 0.3, 0.8, 1.5, 0.2, 0.05
    task = quadratic(noise=1.0)
    config = Config(n=n, f=f, momentum_at=(place,), nesterov=nesterov)
    hyperparameters = Hyperparameters(
        rate,
        clip=clip,
        l2=l2,
        weight_decay=weight_decay,
        attack={"factor": -1.5},
        **{place: Momentum(decay)},
    )
    state, metrics = run(
        config,
        hyperparameters,
        aggregators.median,
        attacks.a_little_is_enough,
        steps=30,
        task=task,
        jit=quick_jit,
        schedule=lambda step: 1 / (1 + step / 10),
    )

    key = jax.random.key(0)
    theta = np.asarray(task.initialise(jax.random.fold_in(key, INITIALISE))[0], np.float64)
    batches_key = jax.random.fold_in(key, BATCHES)
    noises = np.asarray(task.batches(task.data, batches_key, 0, 30, n - f), np.float64)
    workers, update, last = np.zeros((n - f, 4)), np.zeros(4), np.zeros(4)
    for step in range(30):
        now = rate / (1 + step / 10)
        sent, losses = [], []
        for i in range(n - f):
            momentum = {"worker": workers[i], "update": update, "server": last}[place]
            point = theta - now * decay * momentum if nesterov else theta
            gradient = point - TARGET - noises[step, i]
            losses.append(np.sum(gradient**2) / 2 + l2 * np.linalg.norm(point))
            gradient = gradient + l2 * point / np.linalg.norm(point)
            norm = np.linalg.norm(gradient)
            gradient = gradient * (clip / norm if norm > clip else 1)
            if place == "worker":
                workers[i] = decay * workers[i] + gradient
                gradient = workers[i].copy()
            elif place == "server":
                gradient = gradient + decay * last
            sent.append(gradient)
        assert metrics.loss[step] == pytest.approx(np.mean(losses), rel=1e-4)
        byzantine = np.mean(sent, axis=0) - 1.5 * np.std(sent, axis=0, ddof=1)
        last = np.sort(np.array(sent + [byzantine] * f), axis=0)[(n - 1) // 2]
        update = decay * update + last if place == "update" else last
        theta = theta - now * (update + weight_decay * theta)
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-4, atol=1e-5)


@pytest.mark.slower
def test_places_without_decay_cost_nothing_but_state():
    hyperparameters = Hyperparameters(
        learning_rate=0.2, update=Momentum(0.9), attack={"factor": 1.1}
    )
    nowhere_else = {"worker": Momentum(), "server": Momentum()}
    few, _ = run(
        Config(n=7, f=2, momentum_at=("update",), study=False),
        hyperparameters,
        aggregators.median,
        attacks.fall_of_empires,
    )
    many, _ = run(
        Config(n=7, f=2, momentum_at=("update", "worker", "server"), study=False),
        hyperparameters._replace(**nowhere_else),
        aggregators.median,
        attacks.fall_of_empires,
    )
    np.testing.assert_allclose(few.parameters, many.parameters, rtol=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("nesterov", [False, True])
def test_workers_one_by_one_or_a_few_at_once_change_nothing(nesterov):
    hyperparameters = Hyperparameters(learning_rate=0.2, worker=Momentum(0.9))
    results = [
        run(
            Config(n=7, f=0, nesterov=nesterov, workers_at_once=at_once, study=False),
            hyperparameters,
            aggregators.median,
            None,
            steps=5,
        )[0].parameters
        for at_once in (None, 1, 3)
    ]
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize(
    ("places", "momentum", "message"),
    [
        (
            (),
            {"worker": Momentum(0.9)},
            r"momentum at the worker, for which Config\(momentum_at=\(\)",
        ),
        (
            ("update",),
            {},
            "momentum at the update, of which Hyperparameters has none: give update=",
        ),
        (
            ("worker", "update"),
            {"worker": Momentum(0.9), "update": Momentum(0.5)},
            "decays at one place of a run, got worker and update",
        ),
    ],
)
def test_momentum_that_config_and_hyperparameters_disagree_about(places, momentum, message):
    """The places are known of traced numbers too; how many decay, of those of a lane, say."""
    task = quadratic()
    simulator = make_simulator(
        Config(n=5, f=0, momentum_at=places), task, aggregators.average, None
    )
    given, key = Hyperparameters(0.1, **momentum), jax.random.key(0)
    state = simulator.initialise(key)

    def steps(given):
        return simulator.advance(state, given, {}, key, 0, 2)[1]

    with pytest.raises(ValueError, match=message):
        steps(given)
    with pytest.raises(ValueError, match=message):
        list(sweep(simulator, [Lane(0, given)], {}, steps=2, width=1))
    if len(momentum) < 2:
        with pytest.raises(ValueError, match=message):
            jax.jit(steps)(given)
    else:
        assert np.isnan(jax.jit(steps)(given).curvature).all()
        alone = given._replace(update=Momentum(0.0))
        assert np.isfinite(jax.jit(steps)(alone).curvature[1])


@pytest.mark.slower
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_learning_rate_that_acted_is_a_column(nesterov):
    """The schedule's factor included."""
    _, metrics = run(
        Config(n=5, f=0, momentum_at=("update",), nesterov=nesterov, study=False),
        Hyperparameters(0.3, schedule={"power": 0.5}, update=Momentum(0.5)),
        aggregators.average,
        None,
        steps=6,
        schedule=lambda step, power: (1.0 + step) ** -power,
    )
    expected = 0.3 / np.sqrt(1 + np.arange(6))
    np.testing.assert_allclose(metrics.learning_rate, expected, rtol=1e-6)


def test_training_on_digits_learns_them():
    task = classification(data.load("digits"), models.Dense(hidden=20), batch_size=10)
    config = Config(n=5, f=0, momentum_at=("update",), evaluate_every=60)
    hyperparameters = Hyperparameters(learning_rate=0.1, update=Momentum(0.9))
    _, metrics = run(config, hyperparameters, aggregators.average, None, steps=121, task=task)
    evaluated = np.asarray(metrics.accuracy)[[0, 60, 120]]
    assert evaluated[0] < 0.3
    assert evaluated[2] > 0.9
    assert np.isnan(np.delete(metrics.accuracy, [0, 60, 120])).all()
    # The short last batch of a pass (7 of 10 examples) is a mean over what it has.
    assert np.isfinite(metrics.loss).all()


class Normalised(nn.Module):
    """The smallest network with batch statistics and dropout."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(4)(images.reshape(len(images), -1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(10)(nn.Dropout(0.5, deterministic=not train)(x))


@pytest.mark.slower
def test_batch_statistics_and_dropout_act_when_asked():
    losses = {}
    for train_mode in (False, True):
        task = classification(
            data.load("digits"), Normalised(), batch_size=4, train_mode=train_mode
        )
        config = Config(n=3, f=0, momentum_at=(), evaluate_every=100, study=False)
        state, metrics = run(
            config, Hyperparameters(learning_rate=0.01), aggregators.average, None, 2, task
        )
        moved = jax.tree.map(
            lambda now, first: not np.allclose(now, first),
            state.model_state,
            task.initialise(jax.random.key(0))[1],
        )
        assert all(moved == train_mode for moved in jax.tree.leaves(moved))
        losses[train_mode] = float(metrics.loss[0])
    assert abs(losses[True] - losses[False]) > 1e-3


OF_TYPES = {
    "update": (dict(momentum_at=("update",), nesterov=True), dict(update=Momentum(0.5))),
    "server": (dict(momentum_at=("server",)), dict(server=Momentum(0.5))),
    "local steps": (dict(local_steps=2), dict(worker=Momentum(0.5))),
    "chance": (dict(participants=4, certify=True), dict(worker=Momentum(0.5))),
    "corrected": (dict(variance_reduction=True), dict(worker=Momentum(0.5))),
}


@pytest.mark.parametrize("name", OF_TYPES)
def test_parameters_keep_their_type(name):
    """In half precision, and in single beside numbers in double."""
    options, momenta = OF_TYPES[name]
    attack = attacks.intermittent(attacks.zero, 2, 1)
    simulator = make_simulator(Config(n=5, f=1, **options), quadratic(), aggregators.median, attack)

    def end(dtype, rate):
        state = simulator.start(jnp.zeros(len(TARGET), dtype), {})
        advance = functools.partial(simulator.advance, num_steps=2)
        given = Hyperparameters(rate, **momenta)
        after, _ = jax.eval_shape(advance, state, given, {}, jax.random.key(0), 0)
        return after.parameters.dtype

    assert [end(dtype, 0.1) for dtype in (jnp.float16, jnp.bfloat16)] == [jnp.float16, jnp.bfloat16]
    with jax.enable_x64(True):
        assert end(jnp.float32, np.float64(0.1)) == jnp.float32


def test_evaluations_that_never_come_but_at_the_start():
    config = Config(n=2, f=0, momentum_at=(), evaluate_every=sys.maxsize, study=False)
    given, task = Hyperparameters(0.1), quadratic(0.0)
    _, metrics = run(config, given, aggregators.average, None, 3, task, jit=quick_jit)
    assert np.isnan(metrics.accuracy).tolist()[:3] == [False, True, True]


def test_a_run_in_half_precision_rounds_parameters_alone():
    config = Config(n=5, f=0, momentum_at=("update",), evaluate_every=None)
    simulator = make_simulator(config, quadratic(0.0), aggregators.average, None)
    start = simulator.start(jnp.zeros(len(TARGET), jnp.float16), {})
    given = Hyperparameters(0.1, update=Momentum(0.5, 200.0))
    advance = jax.jit(simulator.advance, static_argnums=5)
    state, metrics = advance(start, given, {}, jax.random.key(0), 0, 3)
    theta, momentum, ways = np.zeros(len(TARGET), np.float16), 0.0, []
    for _ in range(3):
        ways.append(np.linalg.norm(theta.astype(float)))
        momentum = 0.5 * momentum + 200 * (theta - TARGET).astype(np.float16).astype(float)
        theta = (theta - 0.1 * momentum).astype(np.float16)
    np.testing.assert_allclose(state.parameters, theta, rtol=2e-3)
    np.testing.assert_allclose(metrics.distance_from_start, ways, rtol=2e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(n=0, f=0), "n must be at least 1, got 0"),
        (dict(n=5, f=-1), "f must be at least 0, got -1"),
        (dict(n=5, f=6), r"num_byzantine \(f if not given\) must be from 0 to n = 5, got 6"),
        (dict(n=5, f=1, num_byzantine=-1), "must be from 0 to n = 5, got -1"),
        (dict(n=5, f=1, num_byzantine=5), "num_byzantine = n = 5 no worker computes anything"),
        (dict(n=5, f=1, momentum_at=("client",)), "got \\['client'\\]"),
        (dict(n=5, f=1, evaluate_every=0), "evaluate_every must be at least 1 or None, got 0"),
        (dict(n=5, f=1, curvature_window=0), "curvature_window must be at least 1"),
        (dict(n=5, f=1, workers_at_once=0), "workers_at_once must be at least 1"),
        (dict(n=5, f=1, momentum_at="worker"), r"a tuple, such as \('worker',\), got 'worker'"),
        (dict(n=5.0, f=1), "n must be an int, got 5.0"),
        (dict(n=5, f="1"), "f must be an int, got '1'"),
        (dict(n=5, f=1, local_steps=1.5), "local_steps must be an int, got 1.5"),
        (dict(n=5, f=1, participants=2.0), "participants must be an int, got 2.0"),
    ],
)
def test_refused_configurations(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Config(**options)


def test_attackers_need_an_attack():
    with pytest.raises(ValueError, match="2 Byzantine workers need an attack"):
        make_simulator(Config(n=5, f=2), quadratic(), aggregators.median, None)


def test_a_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="batch_size must be from 1 to 1437.*got 2000"):
        classification(data.load("digits"), models.Dense(), batch_size=2000)
    with pytest.raises(TypeError, match="batch_size must be an int, got 1.5"):
        classification(data.load("digits"), models.Dense(), batch_size=1.5)


def test_an_l2_term_at_zero_has_a_derivative():
    config, numbers = Config(n=3, f=0), Hyperparameters(0.1, l2=0.1, worker=Momentum(0.9))
    simulator = make_simulator(config, quadratic(), aggregators.average, None)

    def end(parameters):
        state = simulator.start(parameters, {})
        state, _ = simulator.advance(state, numbers, {}, jax.random.key(0), 0, 1)
        return jnp.sum(state.parameters)

    # θ - 0.1 (θ + 0.1 θ / ||θ|| + ...): the norm is constant at 0, where it has no direction.
    np.testing.assert_allclose(quick_jit(jax.grad(end))(jnp.zeros(4)), 1 - 0.1 * 1.1, rtol=1e-6)
