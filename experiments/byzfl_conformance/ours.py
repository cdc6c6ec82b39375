"""The simulator's side: all seeds in one compiled program."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.byzfl_conformance.setting import ATTACKS, Setting
from experiments.from_byzfl import parts
from experiments.from_byzfl.parts import part
from simbyz import aggregators
from simbyz.data import Dataset
from simbyz.data.partition import gamma_similarity
from simbyz.preaggregators import nearest_neighbor_mixing
from simbyz.simulator import Config, Hyperparameters, Momentum, Simulator, State, make_simulator
from simbyz.tasks import Task, classification
from simbyz.tasks.models import SmallConv

RULE = aggregators.chain(nearest_neighbor_mixing, aggregators.trimmed_mean)


class Outcome(NamedTuple):
    accuracies: np.ndarray  # one a seed, on the test set after the last step
    cpu_seconds: float  # of all seeds' steps, without preparation and evaluation
    preparation: float  # CPU seconds of compiling, or of setting up
    diverged: int = 0  # seeds whose parameters are not finite at the end


def attack_of(setting: Setting) -> Callable[..., jax.Array]:
    name, parameters = ATTACKS[setting.attack]
    if name.startswith("Optimal"):
        parameters = parameters | {"evals": setting.evaluations}
    attack = part("attack", parts.ATTACKS, name, parameters)
    return parts.attack_of(attack, RULE, setting.f)


def task_of(setting: Setting, dataset: Dataset) -> Task:
    partition = gamma_similarity(
        jax.random.key(0), dataset.train_labels, setting.honest, gamma=setting.gamma
    )
    return classification(dataset, SmallConv(), batch_size=setting.batch_size, partition=partition)


def config_of(setting: Setting) -> Config:
    return Config(
        n=setting.honest + setting.f,
        f=setting.f,
        evaluate_every=setting.steps,
        # One worker fills a core, and several at once only take more memory.
        workers_at_once=1 if jax.default_backend() == "cpu" else None,
    )


def simulator_of(setting: Setting, task: Task) -> Simulator:
    return make_simulator(config_of(setting), task, RULE, attack_of(setting))


def hyperparameters_of(setting: Setting) -> Hyperparameters:
    return Hyperparameters(
        setting.learning_rate,
        worker=Momentum(setting.momentum, 1 - setting.momentum),
        weight_decay=setting.weight_decay,
    )


def run(setting: Setting, dataset: Dataset, seeds: Sequence[int]) -> Outcome:
    """Train with every seed, in one program: on a CPU one after the other, where a single run fills
    the caches and `vmap` makes the defence three times as slow; else side by side.
    """
    task = task_of(setting, dataset)
    simulator = simulator_of(setting, task)
    hyperparameters = hyperparameters_of(setting)

    def train(key: jax.Array, data) -> State:
        state = simulator.initialise(key)
        return simulator.advance(state, hyperparameters, data, key, 0, setting.steps)[0]

    def evaluate(state: State, key: jax.Array, data) -> jax.Array:
        return simulator.finish(state, data, key, setting.steps).accuracy

    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    data = jax.tree.map(jnp.asarray, task.data)
    began = time.process_time()

    def train_all(keys: jax.Array, data) -> State:
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda key: train(key, data), keys)
        return jax.vmap(train, in_axes=(0, None))(keys, data)

    program = jax.jit(train_all).lower(keys, data).compile()
    compiled = time.process_time()
    states = jax.block_until_ready(program(keys, data))
    trained = time.process_time()
    accuracies = jax.jit(jax.vmap(evaluate, in_axes=(0, 0, None)))(states, keys, data)
    diverged = int(np.sum(~np.isfinite(states.parameters).all(axis=1)))
    return Outcome(np.asarray(accuracies), trained - compiled, compiled - began, diverged)
