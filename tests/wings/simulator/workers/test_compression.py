"""Compressors and senders of what they make: laws, special cases, wrong settings."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simbyz.simulator import Hyperparameters
from simbyz.simulator.participation import Identities, Participants, Round
from simbyz.simulator.workers import (
    Sent,
    average,
    by_chance,
    byz_clip21_sgd2m,
    byz_dm21,
    byz_ef21_sgdm,
    byz_vr_dm21,
    chain,
    clip,
    clipped,
    compress,
    corrected_average,
    delayed_momentum,
    every,
    feedback,
    late,
    optax_sender,
    private_noise,
    quantise,
    rand_k,
    rosdhb,
    sign,
    top_k,
    until,
    when_present,
)
from tests.support.compiled import quick_jit

W, D = 3, 6
ROWS = np.random.default_rng(1).normal(size=(5, W, D)).astype(np.float32)
NUMBERS = jnp.arange(W)
KEY = jax.random.key(3)


def round_of(step, key=KEY, bound=jnp.inf):
    who = Identities(NUMBERS, jnp.arange(0))
    part = Participants(NUMBERS, jnp.zeros(W, bool), jnp.int32(0), who)
    numbers = Hyperparameters(0.1, clip=bound)
    return Round(numbers, key, step, step, part, 0.1, 0.1, False, None, {}, data={})


@functools.cache
def stepping(sender):
    """(memory, rows (W, D), step, key, clip) -> what is sent, and the memory after it."""

    @quick_jit
    def step(memory, rows, number, key, bound):
        def take(point, round):
            return Sent(rows, rows, jnp.zeros(W), {})

        now = round_of(number, key, bound)
        sent, after = sender.send(take, jnp.zeros(D), memory, now)
        return sent.vectors, after

    return step


def sent_by(sender, key=KEY, rows=ROWS, clip=np.inf, memory=None, first=0):
    """Vectors of all steps, and the memory at the end."""
    memory = sender.init(jnp.zeros(D), W) if memory is None else memory
    vectors = []
    for number, row in enumerate(rows, start=first):
        vector, memory = stepping(sender)(memory, row, np.int32(number), key, np.float32(clip))
        vectors.append(vector)
    return np.stack(vectors), memory


def compressed(compressor, rows, key=KEY):
    return np.asarray(quick_jit(compressor.compress)(key, np.arange(len(rows)), rows))


PLAIN = sent_by(average(0.3))[0]
SAME = {
    "all coordinates by size": (compress(top_k(D)), ROWS),
    "all coordinates by chance": (compress(rand_k(D)), ROWS),
    "of each worker": (compress(rand_k(D, shared=False)), ROWS),
    "a long bound": (compress(clipped(1e3)), ROWS),
    "no noise": (private_noise(0.0), ROWS),
    "not late": (late(0), ROWS),
    "always present": (when_present(by_chance(1.0), average(0.3)), PLAIN),
    "never crashed": (when_present(until(9, W), average(0.3)), PLAIN),
    "in time": (when_present(every(1, W), average(0.3)), PLAIN),
    "rosdhb": (rosdhb(D, 0.7), PLAIN),
    "delayed": (delayed_momentum(0.3, 1.0), PLAIN),
    "an average of all": (average(1.0), ROWS),
    "a corrected average of all": (corrected_average(1.0), ROWS),
    "differences of all": (byz_ef21_sgdm(1.0, top_k(D)), ROWS),
    "and averages of them": (byz_dm21(1.0, top_k(D)), ROWS),
    "corrected ones, too": (byz_vr_dm21(1.0, top_k(D)), ROWS),
    "differences by all masks": (feedback(rand_k(D)), ROWS),
    "private differences without noise": (byz_clip21_sgd2m(1.0, 1.0, 1e3, 0.0), ROWS),
    "messages that all arrive": (when_present(every(1, W)), ROWS),
    "without a clip": (clip(), ROWS),
    "an optax sender that does nothing": (optax_sender(optax.identity()), ROWS),
    "optax's average": (optax_sender(optax.ema(0.7, debias=False)), PLAIN),
}


@pytest.mark.slower
@pytest.mark.parametrize("name", SAME)
def test_special_cases(name):
    sender, expected = SAME[name]
    np.testing.assert_allclose(sent_by(sender)[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "sender",
    [
        byz_ef21_sgdm(0.3, top_k(D)),
        byz_dm21(0.3, top_k(D)),
        byz_clip21_sgd2m(0.3, 1.0, 1e3),
        byz_clip21_sgd2m(0.3, 1.0, 1e3, 0.0),
    ],
    ids=["byz_ef21_sgdm", "byz_dm21", "byz_clip21_sgd2m", "without noise"],
)
def test_feedback_of_whole_messages_is_no_compression(sender):
    twice = sent_by(chain(average(0.3), average(0.3)))[0]
    got = sent_by(sender)[0]
    expected = twice if len(sender.init(jnp.zeros(D), W)) == 3 else PLAIN
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_top_k_keeps_k_of_equals_and_what_is_not_finite():
    rows = np.float32([[1, -2, 2, 2], [0, 0, 0, 0], [1, np.nan, 3, np.inf]])
    got = compressed(top_k(2), rows)
    assert np.sum(np.abs(got[0]) == 2) == 2 and np.sum(got[0] == 0) == 2
    np.testing.assert_array_equal(got[1:], [[0] * 4, [0, np.nan, 0, np.inf]])


@pytest.mark.slower
@pytest.mark.parametrize(("d", "k"), [(1, 1), (5, 1), (100, 1), (103, 7), (64, 4), (10, 9)])
def test_top_k_is_that_of_a_sort(d, k):
    rows = np.random.default_rng(d).standard_cauchy(size=(2, d)).astype(np.float32)
    expected = np.zeros_like(rows)
    for row, into in zip(rows, expected, strict=True):
        places = np.argsort(-np.abs(row))[:k]
        into[places] = row[places]
    np.testing.assert_array_equal(compressed(top_k(k), rows), expected)


@pytest.mark.slower
@pytest.mark.parametrize(
    "compressor", [rand_k(2), rand_k(2, shared=False), quantise(3)], ids=["shared", "own", "levels"]
)
def test_the_mean_over_chance_is_the_vector(compressor):
    keys = jax.random.split(KEY, 4000)
    drawn = quick_jit(jax.vmap(lambda key: compressor.compress(key, NUMBERS, ROWS[0])))
    made = np.asarray(drawn(keys))
    spread = made.std(axis=0) / np.sqrt(len(keys))
    assert np.all(np.abs(made.mean(axis=0) - ROWS[0]) < 5 * spread + 1e-6)


OWN_MASKS = rand_k(2, shared=False)


def test_masks_are_shared_or_not():
    shared = compressed(rand_k(2), ROWS[0]) != 0
    assert np.all(shared == shared[:1]) and np.all(shared.sum(axis=1) == 2)
    own = np.stack([compressed(OWN_MASKS, ROWS[0], jax.random.key(i)) for i in range(8)])
    assert np.all((own != 0).sum(axis=2) == 2) and np.any((own != 0) != (own != 0)[:, :1])
    unscaled = compressed(rand_k(2, scaled=False), ROWS[0])
    np.testing.assert_array_equal(unscaled, np.where(shared, ROWS[0], 0))


@pytest.mark.slower
def test_levels_and_signs():
    row = np.array([[3.0, -4.0, 0.0]], np.float32)
    levels = quantise(5)
    got = np.abs(compressed(levels, row))
    np.testing.assert_allclose(got, [[3.0, 4.0, 0.0]], rtol=1e-5)  # multiples of 5 / 5 already
    big = compressed(levels, row * np.float32(1e30))
    np.testing.assert_allclose(big, row * np.float32(1e30), rtol=1e-5)
    assert not np.any(compressed(levels, np.zeros((W, D), np.float32)))
    np.testing.assert_allclose(compressed(sign(), row), np.sign(row) * 7 / 3, rtol=1e-6)
    np.testing.assert_array_equal(compressed(sign(scaled=False), row), np.sign(row))


@pytest.mark.parametrize("size", [1e-30, 1e30, 8e37])
def test_signs_and_levels_of_any_size(size):
    """Sums of such sizes are no floats, nor is 1 over the largest."""
    row = np.array([[3.0, -4.0, 0.0, 2.0, -1.0]], np.float32) * np.float32(size)
    signed = compressed(sign(), row)
    np.testing.assert_allclose(signed, np.sign(row) * np.float32(2 * size), rtol=1e-6)
    levels = compressed(quantise(10**6), row).astype(float)
    np.testing.assert_allclose(levels, row, rtol=1e-5)


def left_out(row, levels, rate):
    """The mean of ||x - rate · Q(x)||² / ||x||² over the chance of rounding, in NumPy."""
    steps = np.abs(row) / np.linalg.norm(row) * levels
    low, chance = np.floor(steps), steps - np.floor(steps)
    down, up = (steps - rate * low) ** 2, (steps - rate * (low + 1)) ** 2
    return np.sum((1 - chance) * down + chance * up) / levels**2


@pytest.mark.parametrize(("levels", "d"), [(1, 6), (1, 100), (2, 30), (3, 24), (5, 99)])
def test_below_the_limit_quantised_differences_get_smaller(levels, d):
    limit, rows = quantise(levels).limit(d), np.random.default_rng(d).normal(size=(50, d))
    below = min(1, 0.99 * limit)
    assert max(left_out(row, levels, below) for row in [np.ones(d), *rows]) < 1
    if limit < 1:  # of a row of equal sizes it is the limit
        assert left_out(np.ones(d), levels, 1.01 * limit) > 1


def test_bits():
    assert [made.bits(1000) for made in (top_k(10), rand_k(10), quantise(3), sign())] == [
        10 * (32 + 10),
        10 * 32,
        32 + 1000 * 3,
        1032,
    ]
    assert sign(scaled=False).bits(1000) == 1000 and clipped(1.0).bits(1000) == 32000


def test_compressed_differences_reach_a_vector_that_stays():
    """What one message leaves out comes in the next: exact after d / k of them."""
    rows = np.repeat(ROWS[:1], 3, axis=0)
    got, _ = sent_by(feedback(top_k(2)), rows=rows)
    np.testing.assert_allclose(got[-1], ROWS[0], rtol=1e-6)
    assert np.any(np.abs(got[1] - ROWS[0]) > 1e-3)


def test_time():
    got, _ = sent_by(late(2))
    np.testing.assert_array_equal(got, np.concatenate([np.zeros((2, W, D)), ROWS[:3]]))
    got, memory = sent_by(when_present(until(2, 1), average(0.5)))
    half = sent_by(average(0.5))[0]
    np.testing.assert_allclose(got[:, 1:], half[:, 1:], rtol=1e-6)
    np.testing.assert_allclose(got[2:, 0], half[[1, 1, 1], 0], rtol=1e-6)
    np.testing.assert_array_equal(memory[0][0][0], got[-1, 0])
    got, _ = sent_by(when_present(every(3, 2)))
    np.testing.assert_array_equal(got[:, :2], ROWS[[0, 0, 0, 3, 3], :2])
    np.testing.assert_array_equal(got[:, 2], ROWS[:, 2])
    # A step, a period and workers that are never reached may be any number.
    got, _ = sent_by(when_present(until(sys.maxsize, sys.maxsize)))
    np.testing.assert_array_equal(got, ROWS)
    got, _ = sent_by(when_present(every(sys.maxsize, sys.maxsize)))
    np.testing.assert_array_equal(got, ROWS[[0] * len(ROWS)])
    # Messages are lost; what each worker remembers is not.
    _, memory = sent_by(chain(average(0.3), when_present(by_chance(0.5))))
    np.testing.assert_allclose(memory[0], PLAIN[-1], rtol=1e-6)


def test_streams_of_chance_are_independent():
    keys = jax.random.split(KEY, 400)
    one, other = (
        quick_jit(jax.vmap(lambda key, s=s: by_chance(0.5, stream=s)(key, 0, NUMBERS)))(keys)
        for s in (0, 1)
    )
    assert 0.4 < np.mean(one == other) < 0.6
    assert 0.45 < np.mean(one) < 0.55


def test_masks_of_two_compressors_in_a_chain_are_independent():
    """A coordinate is kept by both with 3/6 · 2/6, times 6/3 · 6/2: on average it stays."""
    rows = np.ones((200, W, D), np.float32)
    got, _ = sent_by(chain(compress(rand_k(3)), compress(rand_k(2))), rows=rows)
    counts = np.sum(got[:, 0] != 0, axis=1)
    assert set(counts) == {0, 1, 2} and np.all(np.isin(got, [0, 6]))
    assert abs(np.mean(got) - 1) < 0.2


def test_noise_is_of_the_clip():
    rows = np.zeros((200, W, D), np.float32)
    got, _ = sent_by(private_noise(0.5), rows=rows, clip=3.0)
    np.testing.assert_allclose(got.std(), 0.5 * 2 * 3, rtol=0.05)
    assert abs(np.corrcoef(got[:, 0].ravel(), got[:, 1].ravel())[0, 1]) < 0.1


ALL = {
    "top_k": feedback(top_k(2)),
    "rand_k": compress(rand_k(2, shared=False)),
    "quantise": compress(quantise(4)),
    "noisy differences": feedback(clipped(0.5), rate=0.5, noise=0.1),
    "corrected": corrected_average(0.5),  # halves are exact, whatever is fused
    "present": when_present(by_chance(0.5), average(0.3)),
    "late": late(2),
    "noise": private_noise(0.1),
    "compressed": compress(top_k(2)),
    "one mask": compress(rand_k(2)),
    "signs": feedback(sign()),
    "clipped": compress(clipped(0.5)),
    "clip": clip(),
    "average": average(0.3),
    "optax": optax_sender(optax.scale_by_adam()),
    "crashed": when_present(until(3, 2), corrected_average(0.5)),
    "stragglers": when_present(every(2, 1)),
    "byz_ef21_sgdm": byz_ef21_sgdm(0.3, top_k(2)),
    "byz_dm21": byz_dm21(0.3, quantise(4)),
    "byz_vr_dm21": byz_vr_dm21(0.3, top_k(2)),
    "rosdhb": rosdhb(2, 0.9),
    "byz_clip21_sgd2m": byz_clip21_sgd2m(0.3, 0.5, 0.5, 0.1),
    "delayed_momentum": delayed_momentum(0.3, 0.5),
}


@pytest.mark.slower
@pytest.mark.parametrize("name", ALL)
def test_resumed_and_in_a_lane_it_is_the_same(name):
    sender = ALL[name]
    whole, memory = sent_by(sender, clip=2.0)
    _, before = sent_by(sender, rows=ROWS[:2], clip=2.0)
    rest, after = sent_by(sender, rows=ROWS[2:], clip=2.0, memory=before, first=2)
    np.testing.assert_array_equal(rest, whole[2:])
    jax.tree.map(np.testing.assert_array_equal, after, memory)

    step = stepping(sender)

    def last(key, step=step):
        return step(memory, ROWS[0], np.int32(7), key, np.float32(2))[0]

    keys = jax.random.split(KEY, 2)
    in_lanes = functools.partial(last, step=step.__wrapped__)
    lanes, alone = quick_jit(jax.vmap(in_lanes))(keys), [last(key) for key in keys]
    np.testing.assert_allclose(lanes, np.stack(alone), rtol=1e-6)
