"""The constants of the synthetic problems are what they claim, measured from their functions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.tasks.problems import logistic, quadratic
from tests.support.compiled import products_with_all_digits

KEY, H, D = jax.random.key(2), 9, 6
CONSTANTS = {"smoothness": 3.0, "convexity": 0.5, "noise": 0.7}
PROBLEMS = {
    "quadratic": functools.partial(quadratic, heterogeneity=1.5),
    "minority": functools.partial(quadratic, heterogeneity=1.5, minority=3),
    "growth": functools.partial(quadratic, heterogeneity=1.5, growth=0.6),
    "growth, minority": functools.partial(quadratic, heterogeneity=1.5, growth=0.6, minority=3),
    "no heterogeneity": quadratic,
    "logistic": functools.partial(logistic, heterogeneity=0.15),
    "logistic, minority": functools.partial(logistic, heterogeneity=0.15, minority=3),
}
POINTS = np.random.default_rng(0).normal(size=(4, D)) * np.array([[0.1], [1], [3], [10]])


@functools.cache
def problem_of(name):
    return PROBLEMS[name](KEY, H, D, **CONSTANTS)


def arrays(problem):
    return {k: np.asarray(v, np.float64) for k, v in problem.task.data._asdict().items()}


def sigmoid(z):
    return (1 + np.tanh(z / 2)) / 2


def numpy_gradients(problem, theta):
    """∇f_i, written out in float64."""
    data = arrays(problem)
    rows = []
    for i in range(H):
        if "hessian" in data:
            curved = data["hessian"] @ (theta - data["optimum"])
            rows.append(data["scales"][i] * curved + data["tilts"][i])
        else:
            total = data["regularisation"] * theta
            for x, label in zip(data["features"], data["labels"][i], strict=True):
                total = total + x * (sigmoid(x @ theta) - label) / len(data["features"])
            rows.append(total)
    return np.array(rows)


def numpy_hessian(problem, theta):
    data = arrays(problem)
    if "hessian" in data:
        return data["hessian"] * data["scales"].mean()
    x = data["features"]
    p = sigmoid(x @ theta)
    return (x.T * (p * (1 - p))) @ x / len(x) + data["regularisation"] * np.eye(D)


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients(name):
    problem = problem_of(name)
    gradients = jax.jit(problem.gradients)
    for theta in POINTS:
        expected = numpy_gradients(problem, theta)
        got = gradients(problem.task.data, theta.astype(np.float32))
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_spectrum_of_the_hessian_is_from_mu_to_L(name):
    problem = problem_of(name)
    for theta in POINTS:
        values = np.linalg.eigvalsh(numpy_hessian(problem, theta))
        assert 0.5 - 1e-5 <= values[0] and values[-1] <= 3 + 1e-5
    if name.startswith("logistic"):  # both ends are reached: at 0, and far away
        assert np.linalg.eigvalsh(numpy_hessian(problem, np.zeros(D)))[-1] == pytest.approx(3)
        far = np.linalg.eigvalsh(numpy_hessian(problem, 1e6 * POINTS[0]))
        assert far[0] == pytest.approx(0.5, abs=1e-3)
    else:
        assert values[[0, -1]] == pytest.approx([0.5, 3])


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_dissimilarity_is_exact_at_every_point(name):
    problem = problem_of(name)
    for theta in [*POINTS, problem.optimum]:
        rows = numpy_gradients(problem, theta)
        mean = rows.mean(axis=0)
        found = np.mean(np.sum((rows - mean) ** 2, axis=1))
        expected = problem.heterogeneity**2 + problem.growth**2 * (mean @ mean)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_optimum(name):
    problem = problem_of(name)
    mean = numpy_gradients(problem, problem.optimum).mean(axis=0)
    assert np.linalg.norm(mean) < 1e-6  # the data are float32, the optimum is not
    excess = jax.jit(problem.task.accuracy)
    at = [excess(problem.task.data, np.float32(x), {}, KEY) for x in (problem.optimum, POINTS[1])]
    assert at[0] == pytest.approx(0, abs=2e-6)
    offset = POINTS[1] - problem.optimum
    # Strong convexity and smoothness bound the excess: μ/2 ||θ - θ*||² to L/2 ||θ - θ*||².
    assert 0.25 * (offset @ offset) <= -at[1] <= 1.5 * (offset @ offset)


LOGISTIC_TOO = ["quadratic", pytest.param("logistic", marks=pytest.mark.slower)]


@pytest.mark.parametrize("name", LOGISTIC_TOO)
def test_stochastic_gradients_have_the_noise_asked_for_and_no_bias(name):
    problem = problem_of(name)
    task, theta = problem.task, jnp.asarray(POINTS[1], jnp.float32)

    @jax.jit
    def stochastic(first):
        numbers, noise = task.batches(task.data, KEY, first, 400, H)
        gradient = jax.grad(lambda p, batch: task.loss(task.data, p, {}, batch, KEY)[0])
        rows = jax.vmap(jax.vmap(gradient, in_axes=(None, 0)), in_axes=(None, 0))
        return rows(theta, (numbers, noise))

    rows = np.asarray(stochastic(0), np.float64)
    deviation = rows - numpy_gradients(problem, POINTS[1])
    squares = np.sum(deviation**2, axis=2)
    # σ² χ²_d / d: its relative deviation is √(2 / d), of the mean of 3600 draws below 0.01.
    assert squares.mean() == pytest.approx(0.7**2, rel=0.04)
    assert np.abs(deviation.mean(axis=(0, 1))).max() < 5 * 0.7 / np.sqrt(D * 3600)
    assert np.abs(np.corrcoef(deviation[:, 0, 0], deviation[:, 1, 0])[0, 1]) < 0.25
    # A step's noise is the same wherever a program starts.
    np.testing.assert_array_equal(stochastic(7)[:10], stochastic(0)[7:17])


def test_a_minority_is_two_groups():
    data = problem_of("minority").task.data
    assert np.ptp(data.tilts[:6], axis=0).max() == np.ptp(data.tilts[6:], axis=0).max() == 0
    np.testing.assert_allclose(6 * data.tilts[0] + 3 * data.tilts[8], 0, atol=1e-6)


@pytest.mark.parametrize("name", PROBLEMS)
def test_products_keep_all_digits_on_a_gpu(name):
    task = problem_of(name).task
    state = task.initialise(KEY)
    batch = jax.tree.map(lambda leaf: leaf[0, 0], task.batches(task.data, KEY, jnp.int32(0), 1, H))

    def loss(parameters):
        return task.loss(task.data, parameters, state[1], batch, KEY)[0]

    assert products_with_all_digits(jax.value_and_grad(loss), state[0]) > 0


def test_labels_are_probabilities():
    data = problem_of("logistic").task.data
    assert 0 <= data.labels.min() and data.labels.max() <= 1
    assert np.ptp(data.labels, axis=0).max() > 0.01


@pytest.mark.slower
@pytest.mark.parametrize("name", LOGISTIC_TOO)
def test_the_simulator_finds_the_optimum(name):
    problem = problem_of(name)
    task = problem.task
    task = task._replace(data=task.data._replace(noise=jnp.float32(0)))
    simulator = make_simulator(
        Config(n=H, f=0, momentum_at=(), evaluate_every=50), task, aggregators.average, None
    )
    state, metrics = jax.jit(simulator.advance, static_argnums=5)(
        simulator.initialise(KEY), Hyperparameters(learning_rate=0.3), task.data, KEY, 0, 101
    )
    np.testing.assert_allclose(state.parameters, problem.optimum, atol=1e-4)
    assert metrics.accuracy[0] < -0.1 and abs(metrics.accuracy[100]) < 1e-5
    # The study columns see the heterogeneity: deviation² is its unbiased estimate.
    expected = problem.heterogeneity * np.sqrt(H / (H - 1))
    assert metrics.sampled_deviation[100] == pytest.approx(expected, rel=1e-3)


REFUSED = {
    "convexity": (dict(convexity=0.0), "0 < convexity <= smoothness, got convexity=0.0"),
    "convexity above": (dict(convexity=2.0), "got convexity=2.0, smoothness=1.0"),
    "noise": (dict(noise=-1.0), "noise must be at least 0 and finite, got -1.0"),
    "dimension": (dict(dimension=0), "dimension must be at least 1, got 0"),
    "heterogeneity": (dict(heterogeneity=-1.0), "heterogeneity and growth must be at least 0"),
    "no number": (dict(growth=float("nan")), "at least 0 and finite, got 0.0 and nan"),
    "one curvature": (dict(dimension=1), "in dimension 1 there is one curvature"),
    "alone": (dict(workers=1, heterogeneity=1.0), "need at least 2 workers, got 1"),
    "two": (dict(workers=2, heterogeneity=1.0, growth=1.0), "need at least 3 workers, got 2"),
    "two groups": (dict(workers=2, growth=1.0, minority=1), "need at least 3 workers, got 2"),
    "minority": (dict(minority=4), "minority must be from 1 to workers - 1 = 3, got 4"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_constants(case):
    options, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        quadratic(KEY, **(dict(workers=4, dimension=3) | options))


@pytest.mark.parametrize("name", ["smoothness", "convexity", "noise", "heterogeneity"])
def test_constants_are_one_number_each(name):
    for make in (quadratic, logistic):
        for value in ("1", None, True):
            with pytest.raises(
                TypeError, match=f"a problem needs a number as {name}, got '?{value}"
            ):
                make(KEY, 4, 3, **{name: value})
        with pytest.raises(ValueError, match=rf"one number as {name}, got shape \(2,\)"):
            make(KEY, 4, 3, **{name: np.ones(2)})


def test_one_dimension_and_large_constants():
    line = quadratic(KEY, 4, 1, smoothness=2.0, convexity=2.0, heterogeneity=1.0)
    np.testing.assert_allclose(line.task.data.hessian, [[2.0]])
    steep = logistic(KEY, 4, 1, smoothness=1e7, convexity=1.0)
    features = np.asarray(steep.task.data.features, np.float64)
    assert np.sum(features**2) / len(features) / 4 + 1 == pytest.approx(1e7)


def test_bad_logistic_constants():
    with pytest.raises(ValueError, match="allow a heterogeneity up to 0.*, got 5.0"):
        logistic(KEY, 4, 3, heterogeneity=5.0)
    with pytest.raises(ValueError, match="smoothness must be above convexity = 1.0, got 1.0"):
        logistic(KEY, 4, 3, smoothness=1.0, convexity=1.0)
    with pytest.raises(ValueError, match="examples must be at least dimension = 3, got 2"):
        logistic(KEY, 4, 3, examples=2)
    with pytest.raises(TypeError, match="examples must be an int, got 20.5"):
        logistic(KEY, 4, 3, examples=20.5)


def test_another_number_of_workers():
    task = problem_of("quadratic").task
    with pytest.raises(ValueError, match="the problem has 9 workers, batches are for 5"):
        task.batches(task.data, KEY, 0, 1, 5)
    for make in (quadratic, logistic):
        with pytest.raises(TypeError, match=f"{make.__name__} needs a key as jax.random.key"):
            make(0, 4, 3)
