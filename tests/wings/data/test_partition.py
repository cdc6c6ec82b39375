"""Partitions: what each definition determines, and what it promises."""

import functools
from collections import Counter

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simbyz.data import partition
from simbyz.data.partition import class_counts

KEY = jax.random.key(3)

# Every scheme with its options; the first six share all examples.
WHOLE = {
    "iid": partition.iid,
    "extreme": partition.extreme,
    "gamma": functools.partial(partition.gamma_similarity, gamma=0.4),
    "dirichlet": functools.partial(partition.dirichlet, alpha=0.05),
    "minimum": functools.partial(partition.dirichlet, alpha=0.05, minimum=3),
    "shards": functools.partial(partition.label_shards, k=3),
}
PART = {
    "tail": functools.partial(partition.long_tail, ratio=10),
    "imbalance": functools.partial(partition.class_imbalance, ratio=10),
    "uneven tail": functools.partial(
        partition.long_tail, ratio=5, share=functools.partial(partition.dirichlet, alpha=0.5)
    ),
}
EVEN = ("iid", "extreme", "gamma")  # sizes differ by at most one


def labels_of(sizes, seed=0):
    """As many labels of each class as asked for, in random order."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels).astype(np.int32)


def rows(made):
    return [row[:count].tolist() for row, count in zip(made.indices, made.counts, strict=True)]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(lambda s: sum(s) >= 21),
    n=st.integers(1, 7),
    seed=st.integers(0, 2**31 - 1),
    name=st.sampled_from([*WHOLE, *PART]),
)
def test_each_example_has_at_most_one_worker_and_each_worker_an_example(sizes, n, seed, name):
    labels, key = labels_of(sizes), jax.random.key(seed)
    scheme = (WHOLE | PART)[name]
    try:
        made = scheme(key, labels, n)
    except ValueError as error:
        assert name in PART and "needs an example" in str(error)  # thinned out to fewer than n
        return
    assert made.indices.dtype == made.counts.dtype == np.int32
    assert made.indices.shape == (n, made.counts.max())
    assert made.counts.min() >= (3 if name == "minimum" else 1)
    held = [index for row in rows(made) for index in row]
    assert len(held) == len(set(held))
    assert set(held) <= set(range(len(labels)))
    for row, count in zip(made.indices, made.counts, strict=True):
        assert np.all(row[count:] == len(labels))
    if name in WHOLE:
        assert len(held) == len(labels)
    if name in EVEN:
        assert np.ptp(made.counts) <= 1
    again = scheme(key, labels, n)
    np.testing.assert_array_equal(made.indices, again.indices)


@pytest.mark.parametrize("name", [*WHOLE, *PART])
def test_another_key_gives_another_partition(name):
    labels = labels_of([60, 50, 70, 20])
    scheme = (WHOLE | PART)[name]
    assert rows(scheme(KEY, labels, 5)) != rows(scheme(jax.random.key(4), labels, 5))


def test_extreme_is_determined_up_to_the_order_within_a_label():
    labels = labels_of([7, 3, 5, 8])
    made = partition.extreme(KEY, labels, 4)
    # 23 sorted labels in runs of 6, 6, 6 and 5
    expected = [{0: 6}, {0: 1, 1: 3, 2: 2}, {2: 3, 3: 3}, {3: 5}]
    assert [Counter(labels[row].tolist()) for row in rows(made)] == expected


def test_gamma_is_iid_on_one_side_and_extreme_on_the_other():
    labels = labels_of([40, 40, 40, 40])
    table = {
        gamma: class_counts(partition.gamma_similarity(KEY, labels, 4, gamma=gamma), labels)[0]
        for gamma in (0.0, 0.5, 1.0)
    }
    np.testing.assert_array_equal(table[0.0], 40 * np.eye(4))
    assert np.all(np.diag(table[0.5]) >= 15)  # half of a worker's 40 come from the sorted part
    assert np.all(table[0.5].sum(axis=1) == 40)
    assert np.all(table[1.0] <= 25)  # 10 expected, standard deviation below 3


def test_a_known_key_is_known_while_something_else_is_traced():
    labels = labels_of([20, 20])

    @jax.jit
    def scaled(number):
        return number * partition.dirichlet(KEY, labels, 3, alpha=0.5).counts

    expected = 2 * partition.dirichlet(KEY, labels, 3, alpha=0.5).counts
    np.testing.assert_array_equal(scaled(2), expected)


def test_next_to_no_concentration_leaves_each_worker_the_same_chance():
    labels, owners = np.zeros(40, int), np.zeros(4, int)
    for seed in range(60):
        made = partition.dirichlet(jax.random.key(seed), labels, 4, alpha=5e-324)
        owners[made.counts.argmax()] += 1
        assert made.counts.max() == 37  # of one worker, but for one example each
    # 15 each on average; more than 28 or fewer than 3 have a chance of 1 in 10,000.
    assert 3 <= owners.min() and owners.max() <= 28


def test_dirichlet_shares_have_the_moments_of_the_distribution():
    """A share is Dirichlet: mean 1/n, variance (1/n)(1 - 1/n) / (nα + 1)."""
    labels, n, alpha = labels_of([2000, 2000]), 4, 0.7
    keys = [jax.random.key(seed) for seed in range(200)]
    tables = [
        class_counts(partition.dirichlet(key, labels, n, alpha=alpha), labels)[0] for key in keys
    ]
    shares = np.array(tables) / 2000  # (draws, workers, classes)
    variance = (1 / n) * (1 - 1 / n) / (n * alpha + 1)
    # Four standard errors of the mean, and about four of the variance, from 400 draws.
    assert shares.mean(axis=(0, 2)) == pytest.approx(1 / n, abs=4 * np.sqrt(variance / 400))
    assert shares.var(axis=(0, 2)) == pytest.approx(variance, rel=0.3)
    classes = np.corrcoef(shares[:, 0, 0], shares[:, 0, 1])[0, 1]
    assert abs(classes) < 4 / np.sqrt(200)  # each class is drawn on its own


def test_a_minimum_changes_nothing_where_it_is_met():
    labels = labels_of([300, 300])
    free = partition.dirichlet(KEY, labels, 3, alpha=100.0)
    assert free.counts.min() > 150
    bound = partition.dirichlet(KEY, labels, 3, alpha=100.0, minimum=150)
    assert rows(free) == rows(bound)


def test_who_gets_what_until_all_have_the_minimum():
    """The smallest gets a random example of the largest, until none has too few."""
    labels = labels_of([30, 25, 20])
    free = rows(partition.dirichlet(KEY, labels, 6, alpha=0.05))
    made = rows(partition.dirichlet(KEY, labels, 6, alpha=0.05, minimum=7))
    kept = [set(a) & set(b) for a, b in zip(free, made, strict=True)]
    assert min(map(len, free)) < 7 and min(map(len, made)) == 7
    assert all(row == sorted(row) for row in made)
    for before, after, same in zip(free, made, kept, strict=True):
        # Nobody both gave and got, and no more was moved than had to be.
        assert len(same) == min(len(before), len(after))
        assert len(after) <= max(len(before), 7)


def test_the_largest_minimum_makes_all_equal():
    labels = labels_of([30, 30, 40])
    made = partition.dirichlet(KEY, labels, 10, alpha=1e-3, minimum=10)
    np.testing.assert_array_equal(made.counts, 10)


def test_extreme_concentrations():
    labels = labels_of([500, 500, 500])
    single, _ = class_counts(partition.dirichlet(KEY, labels, 5, alpha=1e-6), labels)
    assert np.sum(single > 10) == 3  # one owner a class, but for what fills the empty
    for alpha in (1e8, 1.7e308):
        even, _ = class_counts(partition.dirichlet(KEY, labels, 5, alpha=alpha), labels)
        assert np.ptp(even) <= 2
    # A number on a device is one like any other, without a word of what its type can't hold.
    one = partition.dirichlet(KEY, labels, 5, alpha=jax.numpy.float32(0.5))
    np.testing.assert_array_equal(one[0], partition.dirichlet(KEY, labels, 5, alpha=0.5)[0])


def test_shards_hold_few_labels():
    labels = labels_of([50] * 10)
    table, _ = class_counts(partition.label_shards(KEY, labels, 10, k=2), labels)
    np.testing.assert_array_equal(table.sum(axis=1), 50)
    assert set(np.unique(table)) <= {0, 25, 50}  # 20 shards of 25, each of one label
    one, _ = class_counts(partition.label_shards(KEY, labels, 10, k=1), labels)
    np.testing.assert_array_equal(np.sort(one, axis=0), np.sort(50 * np.eye(10), axis=0))


def test_the_profiles_of_thinned_classes():
    labels = labels_of([400] * 5)
    tail, classes = class_counts(partition.long_tail(KEY, labels, 3, ratio=16), labels)
    np.testing.assert_array_equal(classes, range(5))
    np.testing.assert_array_equal(tail.sum(axis=0), [400, 200, 100, 50, 25])
    step, _ = class_counts(partition.class_imbalance(KEY, labels, 3, ratio=16), labels)
    np.testing.assert_array_equal(step.sum(axis=0), [400, 400, 400, 25, 25])
    wide = np.arange(200) % 100  # 0.29 · 100 in floats is below 29
    made = partition.class_imbalance(KEY, wide, 3, ratio=2, minority=0.29)
    assert class_counts(made, wide)[0].sum(axis=0).tolist() == [2] * 71 + [1] * 29
    # The class that has too few for its place sets the scale.
    scarce, _ = class_counts(
        partition.long_tail(KEY, labels_of([400, 100, 400]), 3, ratio=4), labels_of([400, 100, 400])
    )
    np.testing.assert_array_equal(scarce.sum(axis=0), [200, 100, 50])
    # What is thinned out can be shared by any scheme.
    made = partition.long_tail(KEY, labels, 5, ratio=1, share=partition.extreme)
    np.testing.assert_array_equal(class_counts(made, labels)[0], 400 * np.eye(5))


def test_labels_need_not_be_consecutive_and_may_live_on_a_device():
    labels = np.array([7, -1, 7, 100, -1, 7])
    made = partition.extreme(KEY, jax.numpy.asarray(labels), 2)
    table, classes = class_counts(made, labels)
    np.testing.assert_array_equal(classes, [-1, 7, 100])
    np.testing.assert_array_equal(table, [[2, 1, 0], [0, 2, 1]])


GOOD = labels_of([10, 10])
REFUSED = {
    "no worker": (lambda: partition.iid(KEY, GOOD, 0), ValueError, "n must be at least 1, got 0"),
    "more workers than examples": (
        lambda: partition.iid(KEY, GOOD, 21),
        ValueError,
        "each of n=21 workers needs an example, got 20 labels",
    ),
    "matrix of labels": (
        lambda: partition.extreme(KEY, GOOD.reshape(2, 10), 2),
        TypeError,
        r"labels must be \(N,\) ints, got int32 of shape \(2, 10\)",
    ),
    "labels not ints": (
        lambda: partition.extreme(KEY, GOOD / 2, 2),
        TypeError,
        "labels must be .* got float64",
    ),
    "a seed for a key": (
        lambda: partition.iid(0, GOOD, 2),
        TypeError,
        r"a partition needs a key as jax.random.key\(0\) gives, got 0",
    ),
    "many keys": (
        lambda: partition.iid(jax.random.split(KEY, 3), GOOD, 2),
        TypeError,
        r"a partition needs a key as jax.random.key\(0\) gives, got ",
    ),
    "a share for a number": (
        lambda: partition.iid(KEY, GOOD, 2.0),
        TypeError,
        "n must be an int, got 2.0",
    ),
    "half an example": (
        lambda: partition.dirichlet(KEY, GOOD, 2, alpha=1.0, minimum=1.5),
        TypeError,
        "minimum must be an int, got 1.5",
    ),
    "half a shard": (
        lambda: partition.label_shards(KEY, GOOD, 2, k=1.5),
        TypeError,
        "k must be an int, got 1.5",
    ),
    "traced": (
        lambda: jax.jit(lambda labels: partition.iid(KEY, labels, 2).counts)(GOOD),
        TypeError,
        "make it outside jit",
    ),
    "gamma": (
        lambda: partition.gamma_similarity(KEY, GOOD, 2, gamma=1.5),
        ValueError,
        "gamma must be from 0 to 1, got 1.5",
    ),
    "alpha": (
        lambda: partition.dirichlet(KEY, GOOD, 2, alpha=0.0),
        ValueError,
        "alpha must be positive and finite, got 0.0",
    ),
    "alpha nan": (
        lambda: partition.dirichlet(KEY, GOOD, 2, alpha=float("nan")),
        ValueError,
        "alpha must be positive and finite, got nan",
    ),
    "minimum": (
        lambda: partition.dirichlet(KEY, GOOD, 3, alpha=1.0, minimum=7),
        ValueError,
        "minimum must be from 1 to 6, .* n=3 workers in 20 examples, got 7",
    ),
    "empty workers": (
        lambda: partition.dirichlet(KEY, GOOD, 3, alpha=1.0, minimum=0),
        ValueError,
        "minimum must be from 1 to 6",
    ),
    "k": (
        lambda: partition.label_shards(KEY, GOOD, 3, k=7),
        ValueError,
        "k must be from 1 to 6, so that each of n=3 workers has k shards of the 20 .* got 7",
    ),
    "no shard": (lambda: partition.label_shards(KEY, GOOD, 3, k=0), ValueError, "k must be from 1"),
    "ratio": (
        lambda: partition.long_tail(KEY, GOOD, 2, ratio=0.5),
        ValueError,
        "ratio must be at least 1 and finite, got 0.5",
    ),
    "minority": (
        lambda: partition.class_imbalance(KEY, GOOD, 2, ratio=2, minority=1.0),
        ValueError,
        "minority must be at least 0 and below 1, got 1.0",
    ),
    "thinned out to too few": (
        lambda: partition.class_imbalance(KEY, GOOD, 12, ratio=10),
        ValueError,
        "each of n=12 workers needs an example, got 11 labels",
    ),
    "other labels": (
        lambda: class_counts(partition.iid(KEY, GOOD, 2), GOOD[:5]),
        ValueError,
        "the partition names example 19, the labels are 5",
    ),
    "example -1": (
        lambda: class_counts(partition.Partition(np.array([[0, -1]]), np.array([2])), GOOD),
        ValueError,
        "the partition names example -1, the labels are 20",
    ),
    "no share": (
        lambda: partition.long_tail(KEY, GOOD, 2, ratio=2, share=lambda key, labels, n: n),
        TypeError,
        "partition must be a Partition, .* got int",
    ),
    "a share that needs more": (
        lambda: partition.long_tail(KEY, GOOD, 2, ratio=2, share=partition.dirichlet),
        ValueError,
        "share asks for alpha, which it is not given here: bind it, as by functools.partial",
    ),
    "text": (
        lambda: partition.dirichlet(KEY, GOOD, 2, alpha="1"),
        TypeError,
        "alpha must be a number, got '1'",
    ),
    "nothing": (
        lambda: partition.gamma_similarity(KEY, GOOD, 2, gamma=None),
        TypeError,
        "gamma must be a number, got None",
    ),
    "a list": (
        lambda: partition.long_tail(KEY, GOOD, 2, ratio=[2]),
        TypeError,
        r"ratio must be a number, got \[2\]",
    ),
    "a flag": (
        lambda: partition.class_imbalance(KEY, GOOD, 2, ratio=2, minority=True),
        TypeError,
        "minority must be a number, got True",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


def test_picture(tmp_path):
    labels = labels_of([30, 10, 20])
    made = partition.dirichlet(KEY, labels, 6, alpha=0.3)
    table, _ = class_counts(made, labels)
    figure = partition.plot_partition(made, labels, title="title")
    totals, bubbles = figure.axes
    np.testing.assert_array_equal([bar.get_height() for bar in totals.patches], made.counts)
    worker, column = bubbles.collections[0].get_offsets().astype(int).T
    areas = np.zeros_like(table, dtype=float)
    areas[worker, column] = bubbles.collections[0].get_sizes()
    np.testing.assert_allclose(areas / areas.max(), table / table.max())
    figure.savefig(tmp_path / "partition.png")
    many = partition.iid(KEY, np.arange(500) % 100, 200)
    partition.plot_partition(many, np.arange(500) % 100).savefig(tmp_path / "many.png", dpi=30)
