"""Rules as optax transformations, in training loops that a user of optax would write."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.experimental import aggregating

from simbyz.aggregators import as_gradient_transformation, at_workers, average, chain, krum, median
from simbyz.preaggregators import bucketing
from tests.support.compiled import compiled

pytestmark = pytest.mark.slower

NUM_WORKERS, D = 11, 4
pairs = functools.partial(bucketing, bucket_size=2)


def distance_to_solution(optimizer: optax.GradientTransformation, num_byzantine: int = 3) -> float:
    """Linear regression by 11 workers with data of their own, some of whom lie about gradients."""
    solution = jnp.arange(1.0, D + 1)
    inputs = jax.random.normal(jax.random.key(0), (NUM_WORKERS, 40, D))
    targets = inputs @ solution

    def loss(params, inputs, targets):
        predictions = inputs @ params["weights"] + params["bias"]
        return jnp.mean((predictions - targets) ** 2)

    @jax.jit
    def step(params, state):
        gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(params, inputs, targets)
        gradients = jax.tree.map(lambda g: g.at[:num_byzantine].multiply(-10.0), gradients)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params = {"weights": jnp.zeros(D), "bias": jnp.zeros(())}
    state = optimizer.init(params)
    for _ in range(60):
        params, state = step(params, state)
    return float(jnp.linalg.norm(params["weights"] - solution))


def test_the_median_learns_under_attack_and_the_average_does_not() -> None:
    robust = optax.chain(as_gradient_transformation(median, f=3), optax.sgd(0.1))
    assert distance_to_solution(robust) < 0.01
    fragile = optax.chain(as_gradient_transformation(average, f=3), optax.sgd(0.1))
    assert not distance_to_solution(fragile) < 100


def test_momentum_at_the_workers_and_buckets_learn_under_attack() -> None:
    # Of the 6 buckets, median can take 2 bad ones.
    optimizer = optax.chain(
        at_workers(optax.trace(0.5), NUM_WORKERS),
        as_gradient_transformation(chain(pairs, median), f=2, key=jax.random.key(1)),
        optax.sgd(0.05),
    )
    assert distance_to_solution(optimizer, num_byzantine=2) < 0.01


def rows_of(seed: int) -> dict[str, jax.Array]:
    normal = np.random.default_rng(seed).normal
    return {
        "weights": jnp.asarray(normal(size=(NUM_WORKERS, D)), jnp.float32),
        "bias": jnp.asarray(normal(size=NUM_WORKERS), jnp.float32),
    }


PARAMS = {"weights": jnp.zeros(D), "bias": jnp.zeros(())}


def assert_equal(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_an_update_is_the_aggregate_and_takes_extra_arguments() -> None:
    transformation = as_gradient_transformation(krum, f=3)
    state, update = transformation.init(PARAMS), jax.jit(transformation.update)
    assert state == optax.EmptyState()
    for params in (None, PARAMS):
        updates, state = update(rows_of(0), state, params, loss=1.0)
        assert_equal(updates, compiled(krum, f=3)(rows_of(0)))
    assert state == optax.EmptyState()


def test_a_random_rule_has_a_new_key_at_each_update() -> None:
    rule = chain(pairs, median)
    key = jax.random.key(2)
    transformation = as_gradient_transformation(rule, f=2, key=key)
    state = transformation.init(PARAMS)
    for _ in range(2):
        updates, state = jax.jit(transformation.update)(rows_of(0), state)
        key, own = jax.random.split(key)
        expected = rule(rows_of(0), 2, key=own)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), updates, expected)
    assert jnp.array_equal(jax.random.key_data(state.key), jax.random.key_data(key))


def test_momentum_at_the_workers_is_momentum_of_each() -> None:
    momentum = at_workers(optax.trace(0.9), NUM_WORKERS)
    state = momentum.init(PARAMS)
    shapes = jax.tree.map(jnp.shape, state)
    for seed in range(2):
        updates, state = momentum.update(rows_of(seed), state)
    expected = jax.tree.map(lambda one, two: two + jnp.float32(0.9) * one, rows_of(0), rows_of(1))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), updates, expected)
    # So that it can be carried by lax.scan.
    assert jax.tree.map(jnp.shape, state) == shapes


def test_workers_clip_each_on_its_own() -> None:
    clip = at_workers(optax.clip_by_global_norm(0.5), NUM_WORKERS)
    updates, _ = clip.update(rows_of(0), clip.init(PARAMS), PARAMS)
    norms = jax.vmap(optax.tree.norm)(updates)
    np.testing.assert_allclose(norms, np.full(NUM_WORKERS, 0.5), rtol=1e-6)


def test_each_worker_draws_noise_of_its_own() -> None:
    noise = at_workers(optax.add_noise(4.0, 0.0, key=3), NUM_WORKERS)
    zeros, state = jnp.zeros((NUM_WORKERS, 500)), noise.init(jnp.zeros(500))
    drawn = []
    for _ in range(2):
        updates, state = noise.update(zeros, state)
        drawn.append(updates)
    rows = np.concatenate(drawn)
    alike = np.corrcoef(rows) - np.eye(2 * NUM_WORKERS)
    assert np.abs(alike).max() < 5 / np.sqrt(500)
    np.testing.assert_allclose(rows.std(axis=1), 2.0, rtol=0.2)


def test_numbers_of_workers_that_are_none(unchecked_shapes) -> None:
    with pytest.raises(ValueError, match="num_workers >= 1, got 0"):
        at_workers(optax.trace(0.9), 0)
    with pytest.raises(TypeError, match="transformation must be optax's, such as .* got 'adam'"):
        at_workers("adam", 3)


def test_the_aggregator_of_optax_process() -> None:
    optimizer = aggregating.process(
        optax.identity(), as_gradient_transformation(median, f=3), optax.sgd(0.1)
    )
    updates, _ = optimizer.update(rows_of(0), optimizer.init(PARAMS))
    expected = jax.tree.map(lambda update: -0.1 * update, median(rows_of(0), 3))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), updates, expected)


def test_a_gradient_without_worker_axis_is_refused() -> None:
    transformation = as_gradient_transformation(average, f=0)
    with pytest.raises(ValueError, match=r"got \(\) for a parameter \(\)"):
        transformation.update(PARAMS, transformation.init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match=r"got \(4,\) for a parameter \(4,\)"):
        transformation.update(PARAMS["weights"], optax.EmptyState(), PARAMS["weights"])


def test_a_wrong_n_is_refused_when_traced() -> None:
    transformation = as_gradient_transformation(median, f=6)
    with pytest.raises(ValueError, match="median needs n >= 2f \\+ 1, got n=11, f=6"):
        jax.eval_shape(transformation.update, rows_of(0), optax.EmptyState())


def test_a_key_is_asked_for_where_it_is_used_and_only_there() -> None:
    with pytest.raises(ValueError, match="needs a key"):
        as_gradient_transformation(chain(pairs, median), f=2)
    with pytest.raises(ValueError, match="asks for none"):
        as_gradient_transformation(median, f=2, key=jax.random.key(0))


def test_a_key_and_an_f_are_what_they_should_be(unchecked_shapes) -> None:
    with pytest.raises(TypeError, match="as_gradient_transformation needs a key as jax.random.key"):
        as_gradient_transformation(chain(pairs, median), f=2, key=0)
    with pytest.raises(TypeError, match="^f must be an int, got 1.5"):
        as_gradient_transformation(median, f=1.5)
