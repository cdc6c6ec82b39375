"""Server optimisers: plain SGD as before, and optax's own against the formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simbyz import aggregators, attacks
from simbyz.simulator import Config, Hyperparameters, Momentum
from simbyz.simulator.keys import BATCHES, INITIALISE
from tests.wings.simulator.quadratic import TARGET, quadratic, run

CONFIG = Config(n=7, f=2, momentum_at=("worker",))
HYPERPARAMETERS = Hyperparameters(0.1, worker=Momentum(0.8), attack={"factor": -1.5})
LITTLE = attacks.a_little_is_enough
STEPS = 12


def parameters(optimizer, hyperparameters=HYPERPARAMETERS):
    state, _ = run(
        CONFIG,
        hyperparameters,
        aggregators.median,
        LITTLE,
        STEPS,
        optimizer=optimizer,
        jit=jax.jit,  # for the same bits
    )
    return np.asarray(state.parameters)


@pytest.mark.slower
def test_sgd_is_the_default_whoever_holds_the_learning_rate():
    default = parameters(None)
    np.testing.assert_array_equal(parameters(optax.sgd(1.0)), default)
    one = HYPERPARAMETERS._replace(learning_rate=1.0)
    np.testing.assert_allclose(parameters(optax.sgd(0.1), one), default, rtol=1e-6)


@pytest.mark.slower
def test_updates_are_added_and_weight_decay_is_apart():
    """θ + learning rate · (updates - weight decay · θ), whatever the optimiser makes."""
    upwards = optax.stateless(lambda updates, parameters: jnp.ones_like(updates))
    decayed = HYPERPARAMETERS._replace(weight_decay=0.2)
    task = quadratic()
    theta = np.asarray(task.initialise(jax.random.fold_in(jax.random.key(0), INITIALISE))[0])
    for _ in range(STEPS):
        theta = theta + 0.1 * (1 - 0.2 * theta)
    np.testing.assert_allclose(parameters(upwards, decayed), theta, rtol=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("whole", [False, True])
def test_adam_against_numpy(whole):
    """Adam at the server, of the median under attack, with momentum at the workers."""
    rate, b1, b2, eps = 0.1, 0.9, 0.999, 1e-8
    parts = optax.chain(optax.scale_by_adam(), optax.scale(-1.0))
    got = parameters(optax.adam(1.0) if whole else parts)

    task, key = quadratic(), jax.random.key(0)
    theta = np.asarray(task.initialise(jax.random.fold_in(key, INITIALISE))[0], np.float64)
    noises = task.batches(task.data, jax.random.fold_in(key, BATCHES), 0, STEPS, 5)
    momenta, first, second = np.zeros((5, 4)), np.zeros(4), np.zeros(4)
    for step, noise in enumerate(np.asarray(noises, np.float64)):
        momenta = 0.8 * momenta + theta - TARGET - 0.1 * noise
        byzantine = np.mean(momenta, axis=0) - 1.5 * np.std(momenta, axis=0, ddof=1)
        aggregate = np.median([*momenta, byzantine, byzantine], axis=0)
        first = b1 * first + (1 - b1) * aggregate
        second = b2 * second + (1 - b2) * aggregate**2
        corrected = np.sqrt(second / (1 - b2 ** (step + 1))) + eps
        theta = theta - rate * first / (1 - b1 ** (step + 1)) / corrected
    np.testing.assert_allclose(got, theta, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (optax.polyak_sgd(), "of \\(updates, state, parameters\\) alone"),
        ("adam", "must be an optax transformation.*got 'adam'"),
    ],
)
def test_refused(optimizer, message):
    with pytest.raises(ValueError, match=message):
        parameters(optimizer)
