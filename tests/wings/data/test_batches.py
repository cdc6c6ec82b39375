"""The published order of the data: one shuffled pass that all workers share."""

import functools

import jax
import numpy as np
import pytest

from simbyz.data.batches import normalise, pack, permutation, random_flip, shared_pass, take

EXAMPLES, SIZE = 23, 5  # five batches a pass, the last one with 3 examples


@functools.partial(jax.jit, static_argnums=1)
def batches(first, count):
    return shared_pass(jax.random.key(7), first, count, num_examples=EXAMPLES, batch_size=SIZE)


def test_every_pass_has_every_example_once_and_a_short_last_batch():
    drawn = np.asarray(batches(0, 15)).reshape(3, 5, SIZE)
    for one_pass in drawn:
        assert sorted(one_pass[one_pass < EXAMPLES]) == list(range(EXAMPLES))
        assert np.all(one_pass[:4] < EXAMPLES)
        np.testing.assert_array_equal(one_pass[4, 3:], EXAMPLES)
    assert not np.array_equal(drawn[0], drawn[1])


@pytest.mark.slower
@pytest.mark.parametrize("first", [0, 1, 4, 5, 9, 12])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_batch_is_the_same_wherever_one_starts(first, count):
    np.testing.assert_array_equal(batches(first, count), batches(0, 20)[first : first + count])


@pytest.mark.slower
def test_batches_larger_than_a_pass_apart():
    exact = shared_pass(jax.random.key(0), 0, 4, num_examples=10, batch_size=5)
    assert sorted(np.asarray(exact[:2]).ravel()) == list(range(10))


@pytest.mark.slower
@pytest.mark.parametrize("n", [1, 2, 10, 1437, 2**16, 2**16 + 1])
def test_permutation_is_jaxs(n):
    key = jax.random.key(n)
    np.testing.assert_array_equal(permutation(key, n), jax.random.permutation(key, n))


def test_images_with_equal_keys_keep_their_order(monkeypatch):
    # Few distinct keys in either half: a stable sort is asked for twice.
    few = np.random.default_rng(0).integers(0, 3, (2, 1000)).astype(np.uint32)
    keys = few[0] << 16 | few[1]
    monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype: jax.numpy.asarray(keys))
    np.testing.assert_array_equal(
        permutation(jax.random.key(0), 1000), np.argsort(keys, kind="stable")
    )


@pytest.mark.parametrize("shape", [(4, 3, 1), (5, 5, 1)])
def test_packed_images_are_taken_whole(shape):
    images = np.random.default_rng(0).integers(0, 256, (6, *shape)).astype(np.uint8)
    indices = np.array([[3, 0], [5, 6]])  # one past the end
    taken = take(jax.numpy.asarray(pack(images)), indices, shape)
    assert taken.dtype == np.uint8
    np.testing.assert_array_equal(taken, images[np.minimum(indices, 5)])


def test_normalise():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    mean, deviation = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    expected = (images.astype(np.float64) / 255 - mean) / deviation
    np.testing.assert_allclose(normalise(images, 255.0, mean, deviation), expected, atol=1e-6)


def test_floats_are_normalised_in_their_own_units():
    """Kept as they are, and centred first: a mean may be large beside the deviation."""
    rows = np.random.default_rng(0).normal([1e6, 0.2], [2.0, 0.1], (7, 2)).astype(np.float32)
    mean, deviation = (1e6 + 0.5, 0.2), (2.0, 0.1)
    taken = take(pack(rows), np.arange(7), (2,))
    np.testing.assert_array_equal(taken, rows)
    expected = (rows.astype(np.float64) - mean) / deviation
    np.testing.assert_allclose(normalise(taken, 1.0, mean, deviation), expected, atol=1e-5)


def test_random_flip_mirrors_about_half_of_the_images_left_to_right():
    images = np.random.default_rng(0).normal(size=(200, 2, 3, 1)).astype(np.float32)
    flipped = np.asarray(random_flip(jax.random.key(0), images))
    same = np.array([np.array_equal(a, b) for a, b in zip(flipped, images, strict=True)])
    mirrored = images[:, :, ::-1]
    assert all(
        np.array_equal(got, kept if unchanged else other)
        for got, kept, other, unchanged in zip(flipped, images, mirrored, same, strict=True)
    )
    assert 70 <= same.sum() <= 130  # over four standard deviations
