"""Study columns against their definitions in double precision, and whom a rule leaves out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.simulator.certificates import realised_lambda
from simbyz.simulator.metrics import (
    Metrics,
    attack_success_rate,
    false_positive_rate,
    log_ratio,
    no_past,
    remember,
    study,
    true_positive_rate,
)
from simbyz.tasks import Task
from tests.wings.simulator.quadratic import run

MOMENTUM = 0.8


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def steps_of(num_steps, byzantine=2, d=6):
    rng = np.random.default_rng(0)
    for _ in range(num_steps):
        yield (
            rng.normal(size=(4, d)),
            rng.normal(size=(4, d)) + 1,
            rng.normal(size=(byzantine, d)),
            rng.normal(size=d),
        )


def columns_of(step, vectors, past, weights=None):
    sampled, honest, attack, aggregate = (jnp.asarray(v, jnp.float32) for v in vectors)
    return study(
        step=step,
        sampled=sampled,
        honest=honest,
        attack=attack,
        aggregate=aggregate,
        past=past,
        momentum=MOMENTUM,
        weights=weights,
    )


def test_norms_deviations_and_cosines():
    (vectors,) = steps_of(1)
    columns, sampled_mean = columns_of(0, vectors, no_past(6, None))
    means = dict(
        zip(("sampled", "honest", "attack"), (v.mean(0) for v in vectors[:3]), strict=True)
    )
    means["aggregate"] = vectors[3]
    np.testing.assert_allclose(sampled_mean, means["sampled"], rtol=1e-5)
    for name, mean in means.items():
        assert columns[f"{name}_norm"] == pytest.approx(np.linalg.norm(mean), rel=1e-5)
        assert columns[f"{name}_largest"] == pytest.approx(np.abs(mean).max(), rel=1e-5)
    for name, rows in zip(("sampled", "honest", "attack"), vectors[:3], strict=True):
        squares = sum(np.sum((row - rows.mean(0)) ** 2) for row in rows)
        assert columns[f"{name}_deviation"] == pytest.approx(
            np.sqrt(squares / (len(rows) - 1)), rel=1e-5
        )
    names = list(means)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            got = columns[f"cosine_{first}_{second}"]
            assert got == pytest.approx(cosine(means[first], means[second]), abs=1e-6)


def test_what_is_not_defined():
    (vectors,) = steps_of(1, byzantine=0)
    columns, _ = columns_of(0, vectors, no_past(6, None))
    assert not any("attack" in name for name in columns)
    assert np.isnan(columns["curvature"])
    assert np.isnan(columns["cosine_sampled_previous"])
    assert set(columns) < set(Metrics._fields)


def test_acceptance_is_the_weight_of_the_byzantine_rows():
    (vectors,) = steps_of(1)
    columns, _ = columns_of(0, vectors, no_past(6, None), weights=jnp.asarray([0.25, 0]))
    assert columns["attack_acceptance"] == 0.25


@pytest.mark.parametrize("window", [1, 3, None])
def test_curvature_by_recurrence_equals_the_sum(window):
    past, means = no_past(6, window), []
    for step, vectors in enumerate(steps_of(9)):
        columns, mean = columns_of(step, vectors, past)
        past = jax.jit(remember)(past, mean, MOMENTUM)
        kept = means[::-1][:window]
        expected = MOMENTUM * sum(
            MOMENTUM**i * (vectors[0].mean(0) @ earlier) for i, earlier in enumerate(kept)
        )
        if step:
            assert columns["curvature"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
            assert columns["cosine_sampled_previous"] == pytest.approx(
                cosine(vectors[0].mean(0), means[-1]), abs=1e-6
            )
        means.append(vectors[0].mean(0))


def test_log_ratio():
    assert log_ratio(2.0, 4.0) == pytest.approx(np.log(0.25))


COLUMNS = {"caught": true_positive_rate, "wronged": false_positive_rate}


def far(key, honest, num_byzantine):
    return jnp.full((num_byzantine, honest.shape[1]), 1e3)


def told(num_byzantine, selection, attack=far):
    rule = functools.partial(aggregators.multi_krum, m=4)
    config = Config(n=7, f=2, num_byzantine=num_byzantine, momentum_at=(), study=False)
    return run(config, Hyperparameters(0.1), rule, attack, 3, selection=selection, columns=COLUMNS)[
        1
    ].own


@pytest.mark.slower
def test_whom_a_rule_leaves_out():
    """Four of seven rows are taken: of five honest ones one is not."""
    selection = functools.partial(aggregators.multi_krum_selection, m=4)
    own = told(2, selection)
    np.testing.assert_array_equal(own["caught"], 1.0)
    np.testing.assert_allclose(own["wronged"], 1 / 5, rtol=1e-6)
    own = told(0, selection, None)
    assert np.isnan(own["caught"]).all()
    np.testing.assert_allclose(own["wronged"], 3 / 7, rtol=1e-6)
    assert np.isnan(told(2, None)["wronged"]).all()


@pytest.mark.slower
def test_lambda_is_the_distance_in_diameters():
    rows = np.random.default_rng(4).normal(size=(5, 3)).astype(np.float32)
    diameter = max(np.linalg.norm(one - other) for one in rows for other in rows)
    got = realised_lambda(aggregate=jnp.ones(3), honest=jnp.asarray(rows))
    expected = np.linalg.norm(1 - rows.mean(axis=0)) / diameter
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    for scale in (1e-15, 1e15):  # where distances are taken in a unit of their own
        got = realised_lambda(aggregate=jnp.full(3, scale), honest=jnp.asarray(rows * scale))
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    alike = jnp.ones((3, 2))
    assert realised_lambda(aggregate=jnp.ones(2), honest=alike) == 0
    assert realised_lambda(aggregate=jnp.zeros(2), honest=alike) == np.inf
    assert np.isnan(realised_lambda(aggregate=jnp.ones(2), honest=alike.at[0].set(jnp.nan)))
    assert np.isnan(realised_lambda(aggregate=jnp.ones(2), honest=alike[:0]))


LABELS = np.array([0, 1, 1, 1, 2])


@functools.cache
def classes():
    """The model's parameter is what it takes class 1 for."""

    def predict(data, parameters, model_state, key):
        predicted = jnp.where(LABELS == 1, jnp.round(parameters[0]), LABELS).astype(jnp.int32)
        return predicted.at[1].set(1), jnp.asarray(LABELS)

    return Task(
        data={},
        initialise=lambda key: (jnp.zeros(1), {}),
        batches=lambda data, key, first, steps, workers: jnp.zeros((steps, workers, 1)),
        loss=lambda data, parameters, state, batch, key: (-parameters[0], state),
        accuracy=lambda data, parameters, state, key: jnp.float32(0.5),
        batch_size=1,
        predict=predict,
    )


def test_a_column_of_the_test_set_where_the_accuracy_is():
    columns = {
        "success": attack_success_rate(source=1, target=2),
        "seen": lambda *, losses: losses.max(),
        "none": attack_success_rate(source=3, target=2),
    }
    config = Config(n=3, f=0, momentum_at=(), evaluate_every=2, study=False)
    simulator = make_simulator(config, classes(), aggregators.average, None, columns=columns)
    key, numbers = jax.random.key(0), Hyperparameters(1.0)  # from 0 to 1 to 2 ...
    state, told = jax.jit(simulator.advance, static_argnums=5)(
        simulator.initialise(key), numbers, {}, key, 0, 3
    )
    np.testing.assert_allclose(told.own["success"], [0, np.nan, 2 / 3])
    np.testing.assert_allclose(told.own["seen"], [0, -1, -2])
    assert np.all(np.isnan(told.own["none"]))
    assert set(told.own) == set(columns)
    last = simulator.finish(state, {}, key, 3)
    assert last.own["success"] == 0 and np.isnan(last.own["seen"])


def test_a_column_of_a_test_set_that_is_none():
    with pytest.raises(ValueError, match="'success' asks for classes of the test set"):
        make_simulator(
            Config(n=3, f=0),
            classes()._replace(predict=None),
            aggregators.average,
            None,
            columns={"success": attack_success_rate(0, 1)},
        )
