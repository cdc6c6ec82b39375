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


@pytest.fixture(scope="module")
def problem():
    config = Config(n=3, f=0, evaluate_every=2)
    task = classification(data.load("digits"), models.Dense(hidden=4), batch_size=4)
    return task, make_simulator(config, task, aggregators.median, None)


def lanes(*seeds):
    return [Lane(seed, Hyperparameters(0.1, worker=Momentum(0.9)), str(seed)) for seed in seeds]


def together(calls, index):
    parts = [columns for place, columns in calls if place == index]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.slower
def test_all_calls_are_the_columns(problem, tmp_path):
    task, simulator = problem
    kept = checkpoints.Checkpoints(tmp_path, float("inf"), {}, lambda file: False)
    options = dict(steps=STEPS, width=2, chunk=2, devices=jax.devices()[:1])
    calls = []
    for result in sweep(
        simulator, lanes(1, 2, 3), task.data, **options, watch=lambda *call: calls.append(call)
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
                **options,
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
            **options,
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
    some = dict(steps=STEPS, width=1, devices=jax.devices()[:1])
    with pytest.raises(TypeError, match="watch must be"):
        sweep(simulator, lanes(1), task.data, **some, watch="accuracy")

    def broken(index, columns):
        raise RuntimeError("no such server")

    with pytest.raises(RuntimeError, match="no such server"):
        list(sweep(simulator, lanes(1), task.data, **some, watch=broken))


@pytest.mark.slower
@pytest.mark.parametrize("model", [models.Dense(hidden=4), Normalised()], ids=["plain", "running"])
def test_what_a_run_trained_has_the_accuracy_of_its_last_row(model):
    mode = {"train_mode": True} if isinstance(model, Normalised) else {}
    task = classification(data.load("digits"), model, batch_size=4, **mode)
    simulator = make_simulator(Config(n=3, f=0, evaluate_every=5), task, aggregators.median, None)
    for result in sweep(
        simulator, lanes(1, 2), task.data, steps=STEPS, width=2, devices=jax.devices()[:1]
    ):
        parameters = simulator.unravel(jnp.asarray(result.parameters))
        assert ("batch_stats" in result.model_state) == bool(mode)
        accuracy = task.accuracy(task.data, parameters, result.model_state, jax.random.key(0))
        assert float(accuracy) == pytest.approx(result.columns["accuracy"][-1], abs=1e-6)
