"""What a sweep tells on its way, and what a run trained."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, data
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.sweeps import Lane, Stopped, checkpoints, sweep
from simbyz.tasks import classification, models

STEPS = 5


class Normalised(nn.Module):
    """A model with running statistics."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(x.reshape(len(x), -1))
        return nn.Dense(10)(x)


def problem_of(model, **mode):
    config = Config(n=3, f=0, evaluate_every=2, study=False)
    task = classification(data.load("digits"), model, batch_size=4, **mode)
    return task, make_simulator(config, task, aggregators.median, None)


@pytest.fixture(scope="module")
def problem():
    return problem_of(models.Dense(hidden=4))


OPTIONS = dict(steps=STEPS, width=2, chunk=2, devices=jax.devices()[:1])


def lanes(*seeds):
    return [Lane(seed, Hyperparameters(0.1, worker=Momentum(0.9)), str(seed)) for seed in seeds]


def together(calls, index):
    parts = [columns for place, columns in calls if place == index]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.slower
def test_all_calls_are_the_columns(problem, tmp_path):
    task, simulator = problem
    kept = checkpoints.Checkpoints(tmp_path, float("inf"), {}, lambda file: False)
    calls = []
    for result in sweep(
        simulator, lanes(1, 2, 3), task.data, **OPTIONS, watch=lambda *call: calls.append(call)
    ):
        found = together(calls, result.index)
        assert found.keys() == result.columns.keys()
        for name, column in result.columns.items():
            np.testing.assert_array_equal(found[name], column, strict=True)
    # The third's round has a copy of it beside it, of which nothing is told.
    assert [index for index, _ in calls] == [0, 1] * 4 + [2] * 4

    turns = iter([False, True])
    with pytest.raises(Stopped):
        list(
            sweep(
                simulator,
                lanes(3, 4),
                task.data,
                **OPTIONS,
                checkpoints=kept,
                stop=lambda: next(turns),
            )
        )
    again = []
    list(
        sweep(
            simulator,
            lanes(3, 4),
            task.data,
            **OPTIONS,
            checkpoints=kept,
            watch=lambda *call: again.append(call),
        )
    )
    assert [len(columns["step"]) for _, columns in again] == [2, 2, 2, 2, 1, 1, 1, 1]
    for name, column in together(calls, 2).items():
        np.testing.assert_array_equal(together(again, 0)[name], column, strict=True)


@pytest.mark.slower
def test_a_watch_that_cannot_be_called_and_one_that_raises(problem):
    task, simulator = problem
    with pytest.raises(TypeError, match="watch must be"):
        sweep(simulator, lanes(1), task.data, **OPTIONS, watch="accuracy")

    def broken(index, columns):
        raise RuntimeError("no such server")

    with pytest.raises(RuntimeError, match="no such server"):
        list(sweep(simulator, lanes(1), task.data, **OPTIONS, watch=broken))


@pytest.mark.slower
@pytest.mark.parametrize("running", [False, True])
def test_what_a_run_trained_has_the_accuracy_of_its_last_row(problem, running):
    task, simulator = problem_of(Normalised(), train_mode=True) if running else problem
    accuracy = jax.jit(task.accuracy)
    for result in sweep(simulator, lanes(1, 2), task.data, **OPTIONS):
        assert ("batch_stats" in result.model_state) == running
        parameters = simulator.unravel(jnp.asarray(result.parameters))
        found = accuracy(task.data, parameters, result.model_state, jax.random.key(0))
        assert float(found) == pytest.approx(result.columns["accuracy"][-1], abs=1e-6)
