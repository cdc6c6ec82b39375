"""A run's numbers are its own: not its neighbours', not the device's, not the chunk's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks, data
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.sweeps import many_runs
from simbyz.sweeps.resume import digest_of
from simbyz.tasks import classification, models
from tests.wings.simulator.quadratic import TARGET, quadratic

STEPS = 8


@pytest.fixture(scope="module")
def problem():
    task = classification(data.load("digits"), models.Dense(hidden=8), batch_size=6)
    config = Config(n=7, f=2, momentum_at=("worker", "update"), evaluate_every=3)
    simulator = make_simulator(config, task, aggregators.median, attacks.a_little_is_enough)
    return simulator, task.data


def lane(seed, place="worker", rate=0.3, places=("worker", "update")):
    momentum = dict.fromkeys(places, Momentum()) | {place: Momentum(0.9)}
    return many_runs.Lane(
        seed,
        Hyperparameters(learning_rate=rate, clip=2.0, attack={"factor": -1.5}, **momentum),
    )


def run(problem, lanes, width, devices=None, **options):
    simulator, arrays = problem
    options |= {"steps": STEPS, "width": width, "devices": devices}
    return list(many_runs.sweep(simulator, lanes, arrays, **options))


def assert_same_bits(one, other):
    np.testing.assert_array_equal(one.parameters, other.parameters)
    for name, column in one.columns.items():
        np.testing.assert_array_equal(column, other.columns[name], err_msg=name)


@pytest.mark.thorough
@pytest.mark.parametrize("width", [1, 3])
def test_a_run_does_not_depend_on_its_neighbours(problem, width):
    lanes = [lane(seed, place) for place in ("worker", "update") for seed in (1, 2, 3, 4)]
    together = run(problem, lanes, width)
    assert [result.index for result in together] == list(range(8))
    for chosen in ([5], [7, 0, 2]):
        for result, index in zip(
            run(problem, [lanes[i] for i in chosen], width), chosen, strict=True
        ):
            assert_same_bits(result, together[index])


def test_the_same_sweep_twice_gives_the_same_bits(problem):
    lanes = [lane(seed) for seed in (1, 2)]
    for one, other in zip(run(problem, lanes, 1), run(problem, lanes, 1), strict=True):
        assert_same_bits(one, other)


@pytest.mark.slower
def test_widths_agree_up_to_rounding(problem):
    """XLA sums a batch of lanes in another order than one: 1 part in 10^7, which steps amplify. To
    the last bit a run is itself at one width alone, which a sweep therefore fixes.
    """
    lanes = [lane(seed) for seed in (1, 2, 3, 4, 5)]
    for first, second in zip(*(run(problem, lanes, width) for width in (1, 3)), strict=True):
        np.testing.assert_allclose(first.parameters, second.parameters, rtol=0, atol=1e-6)
        for name in ("loss", "aggregate_norm", "honest_norm", "accuracy"):
            got, expected = first.columns[name], second.columns[name]
            np.testing.assert_allclose(got, expected, rtol=1e-5, err_msg=name)
        for name in ("step", "training_points"):
            np.testing.assert_array_equal(first.columns[name], second.columns[name])


def test_devices_agree_whatever_their_number(problem):
    lanes = [lane(seed) for seed in (1, 2, 3)]
    one = run(problem, lanes, 1, jax.local_devices()[:1])
    two = run(problem, lanes, 1, jax.local_devices())
    assert len(jax.local_devices()) == 2
    for first, second in zip(one, two, strict=True):
        # XLA compiles one device otherwise than two: rounding may differ, and 8 steps amplify it.
        np.testing.assert_allclose(first.parameters, second.parameters, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            first.columns["loss"], second.columns["loss"], rtol=1e-4, equal_nan=True
        )


@pytest.mark.thorough
def test_chunks_do_not_change_a_run(problem):
    whole = run(problem, [lane(1)], 1)
    assert_same_bits(run(problem, [lane(1)], 1, chunk=4)[0], whole[0])


def test_a_chunk_has_a_step(problem):
    with pytest.raises(ValueError, match="chunk must be at least 1 or None, got 0"):
        run(problem, [lane(1)], 1, chunk=0)


@pytest.mark.slower
@pytest.mark.parametrize("participants", [None, 6])
def test_with_columns_of_one_s_own_and_without_study_a_run_is_the_same(participants):
    """They are given what the other columns tell of; also where chance decides who is there."""
    columns = {
        "mean_loss": lambda *, losses, step: jnp.mean(losses) + 100 * step,
        "norm": lambda *, honest: jnp.linalg.norm(jnp.mean(honest, axis=0)),
        "gap": lambda *, aggregate, byzantine: jnp.sum(byzantine) - jnp.sum(aggregate),
    }
    task = classification(data.load("digits"), models.Dense(hidden=8), batch_size=6)
    shared = {"n": 7, "f": 1, "momentum_at": ("worker", "update"), "participants": participants}

    def result(columns=columns, **options):
        config = Config(**shared, **options)
        chosen = aggregators.median, attacks.a_little_is_enough
        simulator = make_simulator(config, task, *chosen, columns=columns)
        return run((simulator, task.data), [lane(1)], 1)[0]

    whole, bare = result(evaluate_every=3), result({}, evaluate_every=None, study=False)
    np.testing.assert_allclose(bare.parameters, whole.parameters, rtol=1e-4, atol=1e-5)
    kept = [
        "step",
        "training_points",
        "loss",
        "learning_rate",
        "distance_from_start",
        "accuracy",
    ]
    assert list(bare.columns) == kept
    for name in kept[:-1]:
        np.testing.assert_allclose(bare.columns[name], whole.columns[name], rtol=1e-4)
    assert bare.columns["accuracy"][-1] == pytest.approx(whole.columns["accuracy"][-1], abs=5e-3)
    assert np.all(np.isnan(bare.columns["accuracy"][:-1]))

    told = whole.columns
    np.testing.assert_allclose(told["norm"], told["honest_norm"], rtol=1e-5)
    if participants is None:
        expected = told["loss"][:-1] + 100 * np.arange(STEPS)
        np.testing.assert_allclose(told["mean_loss"][:-1], expected)
    assert np.isfinite(told["gap"][:-1]).all() and np.isnan(told["gap"][-1])
    with pytest.raises(ValueError, match=r"names of their own, got \['loss'\]"):
        result({"loss": jnp.mean})


@pytest.mark.slower
def test_same_seed_same_start_and_data_under_every_rule(problem):
    _, arrays = problem
    task = classification(data.load("digits"), models.Dense(hidden=8), batch_size=6)
    config = Config(n=7, f=2, momentum_at=(), study=False, evaluate_every=None)
    other = make_simulator(config, task, aggregators.trimmed_mean, attacks.fall_of_empires)
    (result,) = run((other, arrays), [many_runs.Lane(3, Hyperparameters(learning_rate=0.1))], 1)
    (expected,) = run(problem, [lane(3)], 1)
    assert result.columns["loss"][0] == pytest.approx(expected.columns["loss"][0], rel=1e-6)


def test_columns_of_a_result(problem):
    progress = []
    simulator, arrays = problem
    (result,) = many_runs.sweep(
        simulator,
        [lane(1)],
        arrays,
        steps=STEPS,
        width=1,
        progress=lambda *told: progress.append(told),
    )
    assert sum(steps for steps, _ in progress) == STEPS
    assert progress[-1][1] == result.columns["accuracy"][6]  # evaluated last, before the end
    np.testing.assert_array_equal(result.columns["step"], np.arange(STEPS + 1))
    np.testing.assert_array_equal(result.columns["training_points"], np.arange(STEPS + 1) * 5 * 6)
    evaluated = np.isfinite(result.columns["accuracy"])
    np.testing.assert_array_equal(np.flatnonzero(evaluated), [0, 3, 6, 8])
    assert np.isnan(result.columns["loss"][-1])
    assert np.isfinite(result.columns["loss"][:-1]).all()


@pytest.mark.slower
def test_one_program_runs_with_and_without_nesterov_and_is_the_lone_run(problem):
    """Another program, jit instead of pmap of vmap: the same numbers up to rounding, which 8 steps
    amplify.
    """
    task = classification(data.load("digits"), models.Dense(hidden=8), batch_size=6)
    places = ("worker", "update")
    config = Config(n=7, f=2, momentum_at=places, nesterov=True, evaluate_every=3)
    both = make_simulator(config, task, aggregators.median, attacks.a_little_is_enough)
    given, key = lane(4, "update", 0.1), jax.random.key(4)
    state = jax.jit(both.initialise)(key)
    state, metrics = jax.jit(both.advance, static_argnums=5)(
        state, given.hyperparameters, task.data, key, np.int32(0), STEPS
    )
    options = dict(steps=STEPS, width=1)
    ahead, straight = (
        next(many_runs.sweep(both, [given], task.data, look_ahead=look_ahead, **options))
        for look_ahead in (True, False)
    )
    np.testing.assert_allclose(ahead.parameters, state.parameters, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ahead.columns["loss"][:-1], metrics.loss, rtol=1e-4)
    (without,) = run(problem, [given], 1)
    np.testing.assert_allclose(straight.parameters, without.parameters, rtol=1e-4, atol=1e-6)
    assert np.abs(straight.parameters - ahead.parameters).max() > 1e-3


def test_a_run_in_double_precision_is_given_numbers_of_all_digits():
    """A learning rate of 0.1 was 0.10000000149 in a sweep, 0.1 in a run of one's own."""
    with jax.enable_x64(True):
        config = Config(n=3, f=0, momentum_at=("update",), evaluate_every=None)
        simulator = make_simulator(config, quadratic(0.0), aggregators.average, None)
        given = many_runs.Lane(1, Hyperparameters(0.1, update=Momentum(0.9)))
        (got,) = many_runs.sweep(simulator, [given], {}, steps=STEPS, width=1)
        theta = np.asarray(simulator.initialise(jax.random.key(1)).parameters)
    momentum = np.zeros(len(TARGET))
    for _ in range(STEPS):
        momentum = 0.9 * momentum + theta - TARGET
        theta = theta - 0.1 * momentum
    np.testing.assert_allclose(got.parameters, theta, rtol=1e-14)


def test_a_checkpoint_tells_numbers_apart_that_single_precision_does_not():
    one, other = Hyperparameters(0.1), Hyperparameters(0.1 + 1e-12)
    assert digest_of(1, one, np.dtype(np.float32)) == digest_of(1, other, np.dtype(np.float32))
    assert digest_of(1, one, np.dtype(np.float64)) != digest_of(1, other, np.dtype(np.float64))


def test_training_points_are_counted_beyond_32_bits():
    """2^31 of them were -2^31, in 1,677 steps of 10,000 workers with batches of 128."""
    task = quadratic(0.0)._replace(batch_size=2**29)
    simulator = make_simulator(
        Config(n=3, f=0, momentum_at=(), evaluate_every=None), task, aggregators.average, None
    )
    watched = []

    def watch(index, columns):
        watched.extend(columns["training_points"])

    given = many_runs.Lane(1, Hyperparameters(0.1))
    (got,) = many_runs.sweep(simulator, [given], {}, steps=4, width=1, chunk=1, watch=watch)
    assert got.columns["training_points"].tolist() == [k * 3 * 2**29 for k in range(5)] == watched
    (few,) = many_runs.sweep(simulator, [given], {}, steps=1, width=1)
    assert few.columns["training_points"].dtype == np.int32
