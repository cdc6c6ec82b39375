"""Backdoors: what is planted, how it is sent, and whether it opens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import attacks, data
from simbyz.attacks.poison.backdoors import Trigger
from simbyz.data import partition
from simbyz.tasks import Dense, backdoor_success_rate, classification, with_triggered

KEY, N, B, TARGET = jax.random.key(0), 6, 2, 7
DIGITS = data.load("digits")
SHARES = partition.iid(KEY, DIGITS.train_labels, N)
PATTERN = attacks.pattern(DIGITS, size=3)
SIZE = len(DIGITS.train_labels)


def test_a_pattern_fills_a_corner():
    stamped = PATTERN.stamp(DIGITS.train_images[:5])
    assert stamped.dtype == np.uint8 and np.all(stamped[:, 5:, 5:] == 16)
    stamped[:, 5:, 5:] = DIGITS.train_images[:5, 5:, 5:]
    np.testing.assert_array_equal(stamped, DIGITS.train_images[:5])


def test_parts_make_up_the_whole():
    parts = PATTERN.split(4)
    assert (
        sum(part.mask.astype(int) for part in parts).tolist() == PATTERN.mask.astype(int).tolist()
    )
    assert [int(part.mask.sum()) for part in parts] == [3, 2, 2, 2]
    images = DIGITS.test_images[:3]
    for part in parts:
        images = part.stamp(images)
    np.testing.assert_array_equal(images, PATTERN.stamp(DIGITS.test_images[:3]))


@pytest.mark.parametrize("split", [False, True])
def test_byzantine_workers_hold_stamped_examples_of_the_target(split):
    triggers = PATTERN.split(B) if split else [PATTERN] * B
    planted, shares = attacks.plant_trigger(
        DIGITS,
        SHARES,
        triggers if split else PATTERN,
        num_byzantine=B,
        target=TARGET,
        share=0.25,
    )
    np.testing.assert_array_equal(planted.train_images[:SIZE], DIGITS.train_images)
    nobody = np.arange(SHARES.indices.shape[1])[None] >= SHARES.counts[:, None]
    assert np.any(nobody) and np.all(shares.indices[nobody] == len(planted.train_images))
    kept = ~nobody[: N - B]
    np.testing.assert_array_equal(shares.indices[: N - B][kept], SHARES.indices[: N - B][kept])
    np.testing.assert_array_equal(shares.counts, SHARES.counts)
    for number, worker in enumerate(range(N - B, N)):
        before, after = (
            np.asarray(one.indices)[worker, : SHARES.counts[worker]] for one in (SHARES, shares)
        )
        changed = before != after
        others = int(np.sum(DIGITS.train_labels[before] != TARGET))
        assert np.sum(changed) == others // 4 and np.all(after[changed] >= SIZE)
        assert np.all(DIGITS.train_labels[before[changed]] != TARGET)
        assert np.all(planted.train_labels[after[changed]] == TARGET)
        np.testing.assert_array_equal(
            planted.train_images[after[changed]],
            triggers[number].stamp(DIGITS.train_images[before[changed]]),
        )


def test_edge_cases_are_the_farthest_of_their_class():
    chosen = attacks.rarest(DIGITS.train_images, DIGITS.train_labels, 3, 4)
    rows = DIGITS.train_images[DIGITS.train_labels == 3].reshape(-1, 64).astype(float)
    apart = sorted(np.linalg.norm(rows - rows.mean(axis=0), axis=1))[-4:]
    mean = rows.mean(axis=0)
    found = [np.linalg.norm(DIGITS.train_images[i].ravel() - mean) for i in chosen]
    np.testing.assert_allclose(found, apart[::-1])
    images = DIGITS.train_images[chosen]
    planted, shares = attacks.plant_edge_cases(
        DIGITS, SHARES, images, num_byzantine=B, target=TARGET, share=0.1
    )
    held = np.asarray(shares.indices)[-1, : shares.counts[-1]]
    new = held[held >= SIZE]
    assert len(new) > 4 and np.all(planted.train_labels[new] == TARGET)
    np.testing.assert_array_equal(planted.train_images[new[:5]], images[[0, 1, 2, 3, 0]])


def test_success_is_of_triggered_images_and_accuracy_of_the_others():
    images = attacks.triggered(DIGITS, PATTERN, target=TARGET)
    assert len(images) == np.sum(DIGITS.test_labels != TARGET)
    plain = classification(DIGITS, Dense(hidden=4), batch_size=5)
    task = with_triggered(plain, images)
    parameters, state = plain.initialise(KEY)
    given = parameters, state, KEY
    predicted, labels = task.predict(task.data, *given)
    np.testing.assert_array_equal(labels[: len(DIGITS.test_labels)], DIGITS.test_labels)
    alone = plain.data._replace(test_images=images, test_labels=np.zeros(len(images), np.int32))
    expected = np.mean(plain.predict(alone, *given)[0] == TARGET)
    success = backdoor_success_rate(TARGET)(predicted=predicted, labels=labels)
    assert success == pytest.approx(expected)
    assert task.accuracy(task.data, *given) == plain.accuracy(plain.data, *given)
    assert np.isnan(backdoor_success_rate(0)(predicted=predicted[:3], labels=labels[:3]))


def test_sent_louder_or_where_nothing_moves():
    honest, own = jnp.ones((4, 6)), jnp.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(attacks.model_replacement(KEY, honest, 2, own=own), 3 * own)
    louder = attacks.model_replacement(KEY, honest, 2, own=own, factor=-2.0)
    np.testing.assert_array_equal(louder, -2 * own)
    attack = attacks.neurotoxin(share=0.5, factor=2.0)
    rows, state = attack.send(KEY, honest, 2, attack.start(6), own=own)
    np.testing.assert_array_equal(rows, 2 * own)
    state = attack.learn(state, jnp.array([5.0, -0.1, 0.3, -9.0, 0.0, 2.0]))
    rows, _ = attack.send(KEY, honest, 2, state, own=own)
    np.testing.assert_array_equal(rows, 2 * np.asarray(own) * [0, 1, 1, 0, 1, 0])
    nobody, _ = attack.send(KEY, honest, 0, state, own=own[:0])
    assert nobody.shape == (0, 6)


def plant(**changed):
    given = {"num_byzantine": B, "target": TARGET} | changed
    return attacks.plant_trigger(DIGITS, SHARES, given.pop("trigger", PATTERN), **given)


SMALL = Trigger(np.ones((2, 2, 1), bool), np.zeros((2, 2, 1), np.uint8))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: attacks.pattern(DIGITS, size=9), "size must be from 1 to 8, got 9"),
        (lambda: attacks.pattern(DIGITS, value=0.5), "whole number from 0 to 255, got 0.5"),
        (lambda: attacks.pattern(DIGITS, value=300.0), "whole number from 0 to 255, got 300"),
        (lambda: PATTERN.split(10), "parts must be from 1 to 9, got 10"),
        (lambda: plant(num_byzantine=7), "from 1 to 6 workers, got 7"),
        (lambda: plant(target=10), "target must be from 0 to 9, got 10"),
        (lambda: plant(share=0.0), "share must be over 0"),
        (lambda: plant(share=1e-6), "share=1e-06 of what the Byzantine workers hold is no example"),
        (lambda: plant(trigger=SMALL), "of the images' shape"),
        (lambda: attacks.rarest(DIGITS.train_images, DIGITS.train_labels, 3, 0), "count must be"),
        (lambda: attacks.neurotoxin(share=0.0), "0 < share <= 1, got share=0.0"),
        (lambda: attacks.neurotoxin(factor=-1.0), "factor >= 0"),
        (
            lambda: with_triggered(
                classification(DIGITS, Dense(hidden=4), batch_size=5), np.zeros((1, 8, 8, 1))
            ),
            "like the test images",
        ),
    ],
)
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


LABELS = DIGITS.train_labels


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: attacks.pattern("digits"), TypeError, "dataset must be a Dataset, .* got 'digits"),
        (lambda: attacks.pattern(DIGITS, value="1"), TypeError, "number as value, got '1'"),
        (lambda: plant(trigger=None), TypeError, "trigger must be a Trigger, .* got None"),
        (lambda: plant(share="all"), TypeError, "share must be a number, got 'all'"),
        (
            lambda: attacks.triggered(DIGITS, PATTERN.mask, target=1),
            TypeError,
            "trigger must be a Trigger",
        ),
        (lambda: attacks.triggered(DIGITS, SMALL, target=1), ValueError, "of the images' shape"),
        (
            lambda: attacks.triggered(DIGITS, PATTERN, target=10),
            ValueError,
            "target must be from 0 to 9, got 10",
        ),
        (
            lambda: attacks.triggered(DIGITS, PATTERN, target="seven"),
            TypeError,
            "target must be an int, got 'seven'",
        ),
        (
            lambda: attacks.rarest(DIGITS.train_images[:9], LABELS, 3, 1),
            ValueError,
            r"images \(N, ...\) and their labels \(N,\), got \(9, 8, 8, 1\) and \(1437,\)",
        ),
        (
            lambda: attacks.rarest(DIGITS.train_images, LABELS, "3", 1),
            TypeError,
            "source must be an int, got '3'",
        ),
        (lambda: backdoor_success_rate(-1), ValueError, "target must be at least 0, got -1"),
    ],
)
def test_what_is_of_another_kind(call, error, words, unchecked_shapes):
    with pytest.raises(error, match=words):
        call()
