"""A task of one's own whose functions return something else: each gets one line, when traced."""

import jax
import jax.numpy as jnp
import pytest

from simbyz import aggregators
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.tasks import quadratic

KEY = jax.random.key(0)
TASK = quadratic(KEY, 5, 3).task


def made(**changes):
    config = Config(n=5, f=0, momentum_at=())
    return make_simulator(config, TASK._replace(**changes), aggregators.average, None)


def traced(**changes):
    simulator = made(**changes)

    def run(state):
        return simulator.advance(state, Hyperparameters(0.1), TASK.data, KEY, 0, 2)

    return jax.eval_shape(run, jax.eval_shape(simulator.initialise, KEY))


# (what is called, what its message says)
CASES = {
    "parameters alone": (
        lambda: made(initialise=lambda key: {"a": jnp.ones(3), "b": jnp.ones(3)}),
        r"initialise must return a tuple \(parameters, model_state\), {} for no state, got dict",
    ),
    "parameters in ints": (
        lambda: made(initialise=lambda key: (jnp.zeros(3, int), {})),
        "the task's parameters must be floats, got int32",
    ),
    "no parameters": (
        lambda: made(initialise=lambda key: ({}, {})),
        "initialise must return parameters, got none",
    ),
    "batch_size": (
        lambda: made(batch_size=0),
        "the task's batch_size must be at least 1, got 0",
    ),
    "loss alone": (
        lambda: traced(loss=lambda *_: jnp.float32(1)),
        r"the task's loss must return a tuple \(loss, model_state\)",
    ),
    "losses": (
        lambda: traced(loss=lambda d, p, s, b, k: (p, s)),
        r"the task's loss must return a mean over the batch of shape \(\), got shape \(3,\)",
    ),
    "loss in ints": (
        lambda: traced(loss=lambda d, p, s, b, k: (jnp.int32(1), s)),
        "the task's loss must return floats, got int32",
    ),
    "state": (
        lambda: traced(loss=lambda d, p, s, b, k: (p[0], {"a": p})),
        "the task's loss must return the model_state that it is given",
    ),
    "accuracies": (
        lambda: traced(accuracy=lambda *_: jnp.ones(3)),
        r"the task's accuracy must return a number of shape \(\), got shape \(3,\)",
    ),
    "batches": (
        lambda: traced(batches=lambda d, k, f, n, w: jnp.ones((n, 3))),
        r"\(num_steps, num_workers, ...\) = \(2, 5, ...\), got shape \(2, 3\)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_task_returns(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=message):
        call()
