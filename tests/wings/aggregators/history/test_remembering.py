"""Rules that remember, against loops over steps, and what they do to whom they remember badly."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.aggregators import (
    REMEMBERING,
    Root,
    adaptive_federated_averaging,
    bant,
    fedlaw,
    fldetector,
    foolsgold,
    safeguard,
    selection_of,
)
from simbyz.aggregators.trust.learned import sparse_capped_simplex
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.tasks import Task
from tests.reference import remembering as reference
from tests.support.compiled import products_with_all_digits, quick_jit

T, N, F, D = 12, 9, 2, 4
RNG = np.random.default_rng(3)
CENTERS = 0.7 * RNG.normal(size=(N, D)) + 1  # data that differ
# The last two point elsewhere, and alike.
STEPS = CENTERS[None] + 0.5 * RNG.normal(size=(T, N, D))
STEPS[:, N - F :] = -1.5 + 0.05 * RNG.normal(size=(T, F, D))
STEPS = STEPS.astype(np.float32)
JUMPY = STEPS.copy()  # the last two never send what they did before
JUMPY[:, N - F :] += 3 * RNG.normal(size=(T, F, D)).astype(np.float32)
START, RATE = np.linspace(-1, 1, D), 0.3
OWN = np.full(D, -1.0)  # to where the server's own examples point: downhill along the honest rows

KEY = jax.random.key(5)
THETAS = np.cumsum(RNG.normal(size=(T, D)), axis=0)


def draws(step):
    return np.asarray(jax.random.uniform(jax.random.fold_in(KEY, step), (20, N), STEPS.dtype))


def loss(parameters):
    return ((parameters - OWN.astype(parameters.dtype)) ** 2).sum() / 2


CASES = {
    "foolsgold": (foolsgold, {}, {}),
    "foolsgold confident": (foolsgold, {"confidence": 2.0}, {}),
    "adaptive_federated_averaging": (adaptive_federated_averaging, {}, {}),
    "adaptive_federated_averaging banning": (
        adaptive_federated_averaging,
        {"prior": 1.0, "slack": 1.0, "increase": 0.25, "ban": 0.8},
        {},
    ),
    "safeguard": (safeguard, {"windows": (6, 2)}, {}),
    "safeguard thresholds": (safeguard, {"windows": (5, 3), "thresholds": (1.0, 0.6)}, {}),
    "safeguard reset": (safeguard, {"windows": (4, 4), "factor": 1.2, "reset": 5}, {}),
    "fldetector": (fldetector, {"window": 3}, {"thetas": THETAS, "draws": draws}),
    "bant": (bant, {"rate": 0.2}, {"loss": loss, "rate_of_steps": RATE, "parameters": START}),
    "fedlaw": (
        fedlaw,
        {"rate": 0.4, "cap": 0.25},
        {"gradient": lambda p: p - OWN, "rate_of_steps": RATE, "parameters": START, "f": F},
    ),
    "fedlaw sparse": (
        fedlaw,
        {"rate": 0.1, "nonzero": 5},
        {"gradient": lambda p: p - OWN, "rate_of_steps": RATE, "parameters": START, "f": F},
    ),
}


def steps_of(make):
    return JUMPY if make is fldetector else STEPS


def asked(function, **known):
    return aggregators.base.asked(function, known)


@functools.cache
def stepped(rule, jit):
    def step(state, given):
        rows, number = given
        known = {
            "state": state,
            "root": Root(jnp.asarray(START, rows.dtype), RATE, loss),
            "workers": jnp.arange(rows.shape[0]),
            "f": F,
            "parameters": jnp.asarray(THETAS, rows.dtype)[number],
            "key": jax.random.fold_in(KEY, number),
        }
        aggregate = rule.aggregate(rows, F, **asked(rule.aggregate, **known))
        weights = selection_of(rule.aggregate)(rows, F, **asked(rule.aggregate, **known))
        return rule.learn(state, rows, aggregate, **asked(rule.learn, **known)), (
            aggregate,
            weights,
        )

    return jit(lambda state, steps: jax.lax.scan(step, state, (steps, jnp.arange(T))))


def follow(rule, steps=STEPS, jit=quick_jit):
    """Aggregates (T, d) and weights (T, n) of a rule over the steps."""
    state = rule.start(jnp.zeros(D, steps.dtype), **asked(rule.start, n=steps.shape[1]))
    return stepped(rule, jit)(state, steps)[1]


@pytest.mark.parametrize("case", CASES)
def test_as_written_from_the_paper(case):
    make, options, more = CASES[case]
    steps = steps_of(make).astype(np.float64)
    expected = getattr(reference, make.__name__)(steps, **options, **more)
    with jax.enable_x64(True):
        got, weights = jax.device_get(follow(make(**options), steps))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.einsum("tn,tnd->td", weights, steps), expected, atol=1e-9)
    np.testing.assert_allclose(np.sum(weights, axis=1), 1, rtol=1e-9)


@pytest.mark.slower
@pytest.mark.parametrize("case", CASES)
def test_liars_count_for_little_in_the_end(case):
    make, options, more = CASES[case]
    if "reset" in options:
        options = {**options, "reset": None}
    steps = steps_of(make)
    # When FLDetector finds the liars is decided by a step's rounding: users' programs are asked.
    jit = jax.jit if make is fldetector else quick_jit
    got, weights = follow(make(**options), steps, jit)
    single = getattr(reference, make.__name__)(steps.astype(np.float64), **options, **more)
    # A weight of FoolsGold divides 1 - cosine by the largest, which is small.
    np.testing.assert_allclose(got, single, rtol=3e-5, atol=3e-5)
    assert np.sum(weights[-1, N - F :]) < 0.05


RULES = {name: make() if name != "fedlaw" else make(0.1) for name, make in REMEMBERING.items()}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_bad_rows_leave_no_trace_in_the_aggregate(name, bad):
    steps = STEPS.copy()
    steps[2:, -1] = bad
    got, weights = follow(RULES[name], steps)
    assert np.all(np.isfinite(got[3:]))
    if not np.isfinite(bad):
        assert np.all(np.isfinite(got)) and np.all(weights[2:, -1] == 0)


@pytest.mark.parametrize("name", RULES)
def test_products_keep_all_digits_on_a_gpu(name):
    products_with_all_digits(lambda steps: follow(RULES[name], steps, jax.jit), STEPS)


@pytest.mark.parametrize("name", RULES)
def test_what_was_sent_changes_the_weights_without_a_derivative(name):
    """Also where two send the same, whose weight by FoolsGold is 0 by the logarithm of 0."""
    steps, along = STEPS.copy(), RNG.normal(size=(T, D)).astype(np.float32)
    steps[:, -1] = steps[:, -2]

    @jax.jit
    def gradient(steps):
        def along_all(steps):
            aggregates, weights = follow(RULES[name], steps, lambda function: function)
            return jnp.sum(aggregates * along), weights

        return jax.grad(along_all, has_aux=True)(steps)

    got, weights = jax.device_get(gradient(steps))
    expected = np.einsum("tn,td->tnd", weights, along)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_a_weight_of_zero_has_a_derivative_by_the_confidence():
    rows = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 1.0], [-1.0, 0.7]], np.float32)

    def first(confidence):
        rule = foolsgold(confidence)
        return rule.aggregate(rows, 1, state=jnp.zeros((4, 2)))[0]

    step = 1e-2
    expected = (first(0.6 + step) - first(0.6 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(first)(0.6), expected, atol=1e-3)


def test_a_step_without_a_finite_row_takes_no_learned_weights():
    rule, root = fedlaw(0.1), Root(jnp.asarray(START, jnp.float32), RATE, loss)
    learned = jnp.asarray([0.5, 0.25, 0.25] + [0.0] * (N - 3))
    broken = jnp.full((N, D), jnp.nan)
    after = rule.learn(learned, broken, jnp.zeros(D), f=F, root=root)
    np.testing.assert_array_equal(after, learned)


@pytest.mark.slower
def test_what_reduces_to_the_mean():
    mean = STEPS.mean(axis=1)
    wide = safeguard((4, 2), thresholds=(1e6, 1e6))
    never = safeguard((sys.maxsize, 2), thresholds=(1e6, 1e6), reset=sys.maxsize)
    for rule in (wide, never, fedlaw(0.0, nonzero=N), adaptive_federated_averaging(slack=1e6)):
        np.testing.assert_allclose(follow(rule)[0], mean, rtol=1e-5, atol=1e-6)
    alike = np.repeat(STEPS[:, :1], N, axis=1)
    np.testing.assert_allclose(follow(foolsgold(), alike)[0], alike[:, 0], rtol=1e-5)
    uphill = -np.abs(STEPS) - 5
    np.testing.assert_allclose(follow(bant(), uphill)[0], uphill.mean(axis=1), rtol=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("cap, count", [(1.0, 9), (0.2, 9), (0.25, 4), (0.4, 5), (1 / 3, 3)])
def test_the_nearest_point_of_the_simplex(cap, count):
    nearest = quick_jit(sparse_capped_simplex, static_argnums=(1, 2))
    for _ in range(5):
        wanted = RNG.normal(size=N) * RNG.choice([0.05, 0.5, 5])
        got = nearest(np.asarray(wanted, np.float32), cap, count)
        expected = reference.nearest_in_simplex(wanted, cap, count)
        np.testing.assert_allclose(got, expected, atol=3e-6)


def task_of(root):
    return Task(
        data={},
        initialise=lambda key: (jnp.asarray(START, jnp.float32), {}),
        batches=lambda data, key, first, steps, workers: jax.vmap(
            lambda step: jax.random.normal(jax.random.fold_in(key, step), (workers, D))
        )(first + jnp.arange(steps)),
        loss=lambda data, parameters, state, batch, key: (
            loss(parameters - batch),
            state,
        ),
        accuracy=lambda data, parameters, state, key: -loss(parameters),
        batch_size=1,
        root_loss=root,
    )


@pytest.mark.slower
@pytest.mark.parametrize("name", RULES)
def test_in_a_run_stopped_beside_others_and_with_some_absent(name):
    everybody = name in ("safeguard", "fldetector")
    some = {} if everybody else {"participants": 6, "byzantine_participants": F}
    simulator = make_simulator(
        Config(N, F, momentum_at=(), study=False, evaluate_every=None, **some),
        task_of(lambda data, parameters, state, key: loss(parameters)),
        RULES[name],
        attacks.sign_flipping,
    )
    lanes = jax.vmap(simulator.advance, in_axes=(0, None, None, 0, None, None))
    # The two lengths run the body of one loop: it gives the same bits, however it is compiled.
    lanes, numbers = quick_jit(lanes, static_argnums=5), Hyperparameters(0.1)
    keys = jax.random.split(jax.random.key(0), 2)

    begin = quick_jit(jax.vmap(simulator.initialise))
    whole, _ = lanes(begin(keys), numbers, {}, keys, 0, 4)
    half, _ = lanes(begin(keys), numbers, {}, keys, 0, 2)
    resumed, _ = lanes(half, numbers, {}, keys, 2, 2)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.all(np.isfinite(whole.parameters))
    turned, _ = lanes(begin(keys[::-1]), numbers, {}, keys[::-1], 0, 4)
    np.testing.assert_array_equal(whole.parameters, turned.parameters[::-1])


WRONG = {
    "windows the wrong way": (lambda: safeguard((10, 100)), "the longer one first"),
    "no window": (lambda: safeguard((1, 0)), "at least 1"),
    "reset never": (lambda: safeguard(reset=0), "reset must be at least 1 or None"),
    "negative threshold": (lambda: safeguard(thresholds=(1.0, -1.0)), ">= 0"),
    "confidence": (lambda: foolsgold(-1.0), "confidence >= 0"),
    "confidence nan": (lambda: foolsgold(np.nan), "confidence >= 0"),
    "ban": (lambda: adaptive_federated_averaging(ban=-0.1), "ban >= 0"),
    "prior": (lambda: adaptive_federated_averaging(prior=np.nan), "prior >= 0"),
    "trust": (lambda: bant(-0.1), "rate >= 0"),
    "more than all trust": (lambda: bant(2.0), "rate must be from 0 to 1, got 2.0"),
    "trust in rows of its own": (lambda: bant(np.ones(N)), r"one number as rate, got shape \(9,\)"),
    "no count": (lambda: adaptive_federated_averaging(prior=0), "prior must be above 0, got 0"),
    "one window": (lambda: safeguard(5), r"windows must be two, such as \(100, 10\), got 5"),
    "a threshold": (lambda: safeguard(thresholds=1.0), "thresholds must be two, such as"),
    "too few thresholds": (lambda: safeguard(thresholds=(1.0,)), "thresholds must be two"),
    "no majority stays": (lambda: safeguard(factor=0.5), "factor must be at least 1, got 0.5"),
    "cap too small": (lambda: follow(fedlaw(0.1, cap=0.1)), "no weights add up to 1"),
    "nobody": (lambda: follow(fedlaw(0.1, nonzero=0)), "1 <= nonzero <= n"),
    "more than all": (lambda: follow(fedlaw(0.1, nonzero=10)), "1 <= nonzero <= n"),
    "too many liars": (
        lambda: safeguard().aggregate(STEPS[0], 5, state=safeguard().start(jnp.zeros(D), n=N)),
        "safeguard needs n >= 2f",
    ),
    "some absent": (
        lambda: safeguard().aggregate(STEPS[0], 2, state=safeguard().start(jnp.zeros(D), n=20)),
        "safeguard watches 20 workers, all in each step, got 9 rows",
    ),
    "one worker alone": (
        lambda: fldetector().start(jnp.zeros(D), n=1),
        "fldetector compares workers with each other, at least 2, got n=1",
    ),
    "no root set": (
        lambda: make_simulator(Config(N, F), task_of(None), bant(), attacks.zero),
        "bant asks for root",
    ),
}


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_refused(case):
    make, words = WRONG[case]
    with pytest.raises((TypeError, ValueError), match=words) as refused:
        make()
    assert "\n" not in str(refused.value)
