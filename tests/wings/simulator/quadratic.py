"""Runs of the simulator on a quadratic: a program for each setting, whichever test asks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from simbyz.simulator import make_simulator
from simbyz.tasks import Task
from tests.support.compiled import quick_jit

TARGET = np.array([3.0, -1.0, 0.5, 2.0], np.float32)


@functools.cache
def quadratic(noise=0.1):
    """Worker losses ||θ - target - noise||² / 2: the optimum is the target."""

    def batches(arrays, key, first_step, num_steps, num_workers):
        def draw(step):
            return jax.random.normal(jax.random.fold_in(key, step), (num_workers, len(TARGET)))

        return jax.vmap(draw)(first_step + jnp.arange(num_steps))

    def loss(arrays, parameters, model_state, batch, key):
        return jnp.sum(jnp.square(parameters - TARGET - noise * batch)) / 2, model_state

    return Task(
        data={},
        initialise=lambda key: (jax.random.normal(key, TARGET.shape), {}),
        batches=batches,
        loss=loss,
        accuracy=lambda arrays, parameters, model_state, key: (
            -jnp.sum(jnp.square(parameters - TARGET))
        ),
        batch_size=1,
    )


def run(
    config, hyperparameters, rule, attack, steps=60, task=None, seed=0, jit=quick_jit, **options
):
    """(State, Metrics) after as many steps, the metrics in NumPy."""
    task = quadratic() if task is None else task
    initialise, advance = program(config, task, rule, attack, options, jit)
    key = jax.random.key(seed)
    state, metrics = advance(initialise(key), hyperparameters, task.data, key, np.int32(0), steps)
    return state, jax.device_get(metrics)


_programs = {}


def program(config, task, rule, attack, options, jit=quick_jit):
    """(initialise, advance) under jit, made once for an equal config and the same callables."""
    given = (task, rule, attack, jit, *options.values())
    key = (config, *map(id, given), *options)
    if key not in _programs:
        simulator = make_simulator(config, task, rule, attack, **options)
        compiled = jax.jit(simulator.initialise), jit(simulator.advance, static_argnums=5)
        _programs[key] = compiled, given  # kept, so that no other object gets its identity
    return _programs[key][0]
