"""Rules that remember decide alike whatever the size of the rows, and beside one that is huge."""

import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.aggregators import safeguard

N, D, T = 9, 5, 14
RNG = np.random.default_rng(0)
STEPS = 1 + 0.1 * RNG.normal(size=(T, N, D))
STEPS[::2, 0], STEPS[1::2, 0] = 5, -5  # never what it sent before
STEPS[::2, 1], STEPS[1::2, 1] = -7, 7
# Squares of the first and the last are no floats.
SCALES = [2.0**-66, 2.0**-45, 1.0, 2.0**45, 2.0**66]


def watched(steps, scale):
    """Who is good after each step, by thresholds that scale along: (t, n)."""
    rule = safeguard((4, 2), thresholds=(1.2 * scale, 1.0 * scale))
    state, good = rule.start(jnp.zeros(D), n=N), []
    for rows in steps:
        state = rule.learn(state, jnp.asarray(rows * scale, jnp.float32), jnp.zeros(D))
        good.append(np.asarray(state.good))
    return np.array(good)


def watched_in_numpy(steps):
    good, long, short, seen = np.ones(N, bool), np.zeros((N, D)), np.zeros((N, D)), []
    for step, rows in enumerate(steps):
        long = (0 if step % 4 == 0 else long) + rows / good.sum()
        short = (0 if step % 2 == 0 else short) + rows / good.sum()
        stays = good.copy()
        for sums, threshold in ((long, 1.2), (short, 1.0)):
            apart = np.linalg.norm(sums[:, None] - sums[None], axis=2)
            counts = np.where(good, (good[None] & (apart <= threshold)).sum(axis=1), -1)
            stays &= apart[:, np.argmax(counts)] <= 2 * threshold
        good = stays
        seen.append(good)
    return np.array(seen)


@pytest.mark.parametrize("scale", SCALES)
def test_thresholds_are_in_the_units_of_the_rows(scale):
    steps = STEPS[:4].copy()
    steps[:, :2] = [[20] * D, [-2] * D]
    expected = watched_in_numpy(steps)
    assert expected.sum(axis=1).tolist() == [8, 8, 7, 7] and expected[-1, 2:].all()
    np.testing.assert_array_equal(watched(steps, scale), expected)
