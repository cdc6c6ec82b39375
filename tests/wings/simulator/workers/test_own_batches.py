"""Batches of workers that hold data of their own, and a task that trains on them."""

import functools
from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, data
from simbyz.data import partition
from simbyz.data.batches import own_draws, own_passes
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.simulator.keys import INITIALISE
from simbyz.simulator.workers.gradients import draw_batches
from simbyz.tasks import classification, models

COUNTS, LARGEST, SIZE = np.array([1, 3, 5, 6, 12, 23]), 23, 5
NONE = LARGEST


@functools.partial(jax.jit, static_argnums=1)
def passes(first, count, counts=COUNTS):
    return own_passes(
        jax.random.key(7), first, count, counts=counts, largest=LARGEST, batch_size=SIZE
    )


@functools.partial(jax.jit, static_argnums=1)
def draws(first, count, counts=COUNTS):
    return own_draws(jax.random.key(7), first, count, counts=counts, batch_size=SIZE)


@pytest.fixture(scope="module")
def long():
    return np.asarray(passes(0, 40))


@pytest.mark.parametrize("worker", range(len(COUNTS)))
def test_every_pass_has_every_example_once_and_ends_in_a_short_batch(worker, long):
    count = COUNTS[worker]
    per_pass = -(-count // SIZE)
    whole = 40 // per_pass
    for one_pass in long[: whole * per_pass, worker].reshape(whole, per_pass, SIZE):
        flat = one_pass.ravel()
        np.testing.assert_array_equal(np.sort(flat[:count]), np.arange(count))
        np.testing.assert_array_equal(flat[count:], NONE)


def test_passes_differ_from_each_other_and_between_workers(long):
    first, second = long[:5, 5].ravel(), long[5:10, 5].ravel()
    assert not np.array_equal(first, second)
    same = np.asarray(passes(0, 40, np.full(6, 23)))
    assert len({same[:, worker].tobytes() for worker in range(6)}) == 6


@pytest.mark.slower
@pytest.mark.parametrize("kind", [passes, draws])
@pytest.mark.parametrize("first", [0, 1, 4, 5, 13])
def test_a_batch_is_the_same_wherever_one_starts(kind, first):
    whole = np.asarray(kind(0, 40))
    np.testing.assert_array_equal(kind(first, 7), whole[first : first + 7])


@pytest.mark.parametrize("kind", [passes, draws])
def test_a_worker_s_batches_do_not_depend_on_the_others(kind):
    others = kind(0, 7, np.array([1, 3, 5, 9, 2, 7]))
    np.testing.assert_array_equal(others[:, :3], kind(0, 7)[:, :3])


@pytest.mark.slower
@pytest.mark.parametrize("largest", [500, 40_000])  # 2 * 40,000 is past what 16 bits number
def test_a_pass_is_in_the_order_of_random_bits(largest):
    count, size, first = largest - 3, largest // 4, 2
    key = jax.random.key(5)
    drawn = own_passes(key, first, 5, counts=np.array([count]), largest=largest, batch_size=size)

    def bits(element):
        return jax.random.bits(jax.random.fold_in(jax.random.fold_in(key, 0), element))

    drawn_bits = np.asarray(jax.jit(jax.vmap(bits))(jnp.arange(2 * count))).reshape(2, count)
    order = np.argsort(drawn_bits, axis=1, kind="stable")
    short = np.full((2, 4 * size - count), largest)  # passes of four batches, the last one short
    expected = np.concatenate([order, short], axis=1).reshape(8, size)[first : first + 5]
    np.testing.assert_array_equal(np.asarray(drawn)[:, 0], expected)


def test_all_orders_of_a_pass_are_equally_likely():
    parts = [passes(first, 40, np.full(6, 3)) for first in range(0, 600, 40)]
    orders = np.concatenate(parts)[:, :, :3]  # 3600 passes of 3 examples
    found = Counter(map(tuple, orders.reshape(-1, 3).tolist()))
    assert len(found) == 6
    # 600 of each expected; 20.5 is the 99.9 % point of χ² with 5 degrees of freedom
    assert sum((number - 600) ** 2 / 600 for number in found.values()) < 20.5


def test_draws_are_uniform_over_what_a_worker_holds():
    drawn = np.concatenate([draws(first, 40) for first in range(0, 600, 40)])
    for worker, count in enumerate(COUNTS):
        found = np.bincount(drawn[:, worker].ravel(), minlength=count)
        assert len(found) == count
        # A bound far out for χ² with count - 1 degrees of freedom: mean plus six deviations.
        expected = drawn[:, worker].size / count
        chi = np.sum((found - expected) ** 2 / expected)
        assert chi < count - 1 + 6 * np.sqrt(2 * count)
    assert any(len(set(batch)) < SIZE for batch in drawn[:, -1].tolist())  # with replacement


DIGITS = data.load("digits")
LABELS = DIGITS.train_labels
N = 6
MADE = partition.dirichlet(jax.random.key(0), LABELS, N, alpha=0.3, minimum=8)


def task_of(made, **options):
    return classification(DIGITS, models.Dense(hidden=8), partition=made, **options)


def batches_of(task, num_steps):
    call = jax.jit(lambda data, key: task.batches(data, key, 0, num_steps, N))
    return np.asarray(call(task.data, jax.random.key(1)))


@pytest.mark.slower
@pytest.mark.parametrize("replacement", [False, True])
def test_every_worker_gets_its_own_examples_only(replacement):
    task = task_of(MADE, batch_size=20, replacement=replacement)
    drawn = batches_of(task, 60)
    assert drawn.shape == (60, N, 20)
    for worker in range(N):
        own = set(MADE.indices[worker, : MADE.counts[worker]].tolist())
        seen = set(drawn[:, worker].ravel().tolist())
        assert seen - {len(LABELS)} <= own
        if not replacement:  # 1200 draws at least are several passes of all
            assert seen - {len(LABELS)} == own
        else:
            assert len(LABELS) not in seen


def test_byzantine_workers_that_compute_hold_the_last_rows_of_the_partition():
    task, config = task_of(MADE, batch_size=20), Config(n=N, f=2, byzantine_gradients=True)
    call = jax.jit(lambda data, key: draw_batches(config, task, data, key, 0, 30))
    drawn = np.asarray(call(task.data, jax.random.key(1)))
    assert drawn.shape == (30, N, 20)
    for worker in range(N):
        own = set(MADE.indices[worker, : MADE.counts[worker]].tolist())
        assert set(drawn[:, worker].ravel().tolist()) <= own | {len(LABELS)}


def test_without_a_partition_draws_are_from_all_examples():
    task = task_of(None, batch_size=50, replacement=True)
    drawn = batches_of(task, 40)
    assert drawn.min() >= 0 and drawn.max() < len(LABELS)
    # 12,000 draws out of 1437 miss an example with probability 2.4e-4
    assert len(np.unique(drawn)) > 0.99 * len(LABELS)
    assert not np.array_equal(drawn[:, 0], drawn[:, 1])


def test_the_shared_pass_is_the_default_and_does_not_use_a_partition():
    task = task_of(None, batch_size=20)
    drawn = batches_of(task, 12).ravel()
    np.testing.assert_array_equal(np.sort(drawn[:1437]), np.arange(1437))


@pytest.mark.slower
def test_a_loss_is_the_mean_of_the_workers_own_losses_and_another_partition_needs_no_compilation():
    """Whole-data batches: the first step's loss tells whose data was used."""
    extreme = partition.extreme(jax.random.key(0), LABELS, N)
    task = task_of(extreme, batch_size=300)
    traced, traces = [], []

    def loss(*arguments):
        traced.append(arguments)
        return task.loss(*arguments)

    simulator = make_simulator(
        Config(n=N, f=0, momentum_at=()), task._replace(loss=loss), aggregators.average, None
    )
    key, hyperparameters = jax.random.key(1), Hyperparameters(learning_rate=0.1)
    advance = jax.jit(simulator.advance, static_argnums=5)
    state = simulator.initialise(key)
    parameters, _ = task.initialise(jax.random.fold_in(key, INITIALISE))

    own_loss = jax.jit(task.loss)

    def expected(made):
        losses = [
            own_loss(task.data, parameters, {}, jnp.asarray(row), jax.random.key(0))[0]
            for row in made.indices
        ]
        return np.mean(losses)

    shuffled = partition.iid(jax.random.key(5), LABELS, N)
    assert shuffled.indices.shape == extreme.indices.shape
    results = {}
    for name, made in (("extreme", extreme), ("iid", shuffled)):
        arrays = task.data._replace(partition=made)
        _, results[name] = advance(state, hyperparameters, arrays, key, 0, 1)
        assert results[name].loss[0] == pytest.approx(expected(made), rel=1e-5)
        traces.append(len(traced))
    assert traces[0] == traces[1] > 0
    deviation = {name: float(metrics.sampled_deviation[0]) for name, metrics in results.items()}
    assert deviation["extreme"] > 3 * deviation["iid"]  # what heterogeneity means


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(4)(images.reshape(len(images), -1))
        return nn.Dense(10)(nn.BatchNorm(use_running_average=not train)(x))


def test_batch_statistics_of_a_short_batch_are_of_its_own_examples():
    task = classification(DIGITS, Normalised(), batch_size=4, train_mode=True, partition=MADE)
    parameters, state = task.initialise(jax.random.key(0))
    none, key = len(LABELS), jax.random.key(1)

    @jax.jit
    def at(*batch):
        return task.loss(task.data, parameters, state, jnp.array(batch), key)

    short, two = at(3, 8, none, none), at(3, 8)
    for got, expected in zip(jax.tree.leaves(short), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    # Of three examples the first stands in for the fourth, and counts once in the loss.
    three, four, fourth = at(3, 8, 5, none), at(3, 8, 5, 3), at(3, 8, 5, 8)
    np.testing.assert_allclose(
        three[1]["batch_stats"]["BatchNorm_0"]["mean"],
        four[1]["batch_stats"]["BatchNorm_0"]["mean"],
        rtol=1e-5,
    )
    assert abs(three[0] - four[0]) > 1e-3 and abs(four[0] - fourth[0]) > 1e-3


@pytest.mark.slower
def test_sorted_data_is_learnt_by_the_average_of_all():
    task = task_of(partition.extreme(jax.random.key(0), LABELS, N), batch_size=20)
    simulator = make_simulator(
        Config(n=N, f=0, momentum_at=(), evaluate_every=100), task, aggregators.average, None
    )
    key = jax.random.key(0)
    _, metrics = jax.jit(simulator.advance, static_argnums=5)(
        simulator.initialise(key), Hyperparameters(learning_rate=0.3), task.data, key, 0, 201
    )
    assert metrics.accuracy[0] < 0.3
    assert metrics.accuracy[200] > 0.9


REFUSED = {
    "of other data": (
        MADE._replace(indices=MADE.indices + 1437),
        "names example .* digits has 1437",
    ),
    "empty worker": (MADE._replace(counts=0 * MADE.counts), "each worker .* needs an example"),
    "count beyond the row": (MADE._replace(counts=MADE.counts + 2000), "needs an example"),
    "shapes": (
        MADE._replace(counts=MADE.counts[1:]),
        r"indices \(n, largest\) and counts \(n,\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_partitions(case):
    made, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        task_of(made, batch_size=20)


def test_a_partition_of_another_number_of_workers():
    task = task_of(MADE, batch_size=20)
    with pytest.raises(ValueError, match="is among 6 workers, batches are for 5"):
        jax.eval_shape(lambda: task.batches(task.data, jax.random.key(0), 0, 1, 5))
