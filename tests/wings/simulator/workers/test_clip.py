"""A worker's clipping of vectors whose squares are no floats."""

import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import preaggregators
from simbyz.simulator import Hyperparameters
from simbyz.simulator.workers import Sent, clip

DIRECTION = np.array([0.6, 0, -0.8])


class Round:
    """All that a clip reads of a round."""

    def __init__(self, bound: float) -> None:
        self.hyperparameters = Hyperparameters(learning_rate=0.1, clip=bound)


def clipped(rows: np.ndarray, bound: float) -> np.ndarray:
    sent = Sent(jnp.asarray(rows), jnp.asarray(rows), jnp.zeros(len(rows)), None)
    made, _ = clip().send(lambda point, round: sent, jnp.zeros(3), None, Round(bound))
    np.testing.assert_array_equal(made.vectors, made.sampled)
    return np.asarray(made.vectors)


@pytest.mark.parametrize("bound", [2.0, 1e-25, 1e25])
def test_long_vectors_are_shortened_to_the_bound_not_to_zero(bound):
    norms = np.array([1e-30, 1e-20, 1.0, 5.0, 1e19, 1e25, 3e38])
    rows = (norms[:, None] * DIRECTION).astype(np.float32)
    expected = np.minimum(norms, bound)[:, None] * DIRECTION
    np.testing.assert_allclose(clipped(rows, bound), expected, rtol=1e-5, atol=0)
    others = preaggregators.clipping(rows, radius=np.float32(bound))
    np.testing.assert_allclose(others, expected, rtol=1e-5, atol=0)


@pytest.mark.slower
def test_a_norm_above_the_largest_float():
    rows = np.full((2, 3), 3e38, np.float32)
    rows[1] = [1, 2, 3]
    np.testing.assert_allclose(clipped(rows, 3.0)[0], np.full(3, np.sqrt(3)), rtol=1e-6)
    np.testing.assert_allclose(
        preaggregators.clipping(rows, radius=3.0)[0], np.full(3, np.sqrt(3)), rtol=1e-6
    )
    # k = 2 · 1/3 · 2 = 1 row is shortened to the length of the next one.
    rows = np.stack([rows[0], rows[0] / 2, rows[1]])
    got = preaggregators.adaptive_robust_clipping(rows, 1)
    np.testing.assert_allclose(got, [rows[1], rows[1], rows[2]], rtol=1e-6)


def test_without_a_bound_and_without_numbers_nothing_changes():
    rows = np.array([[1e30, 0, 1], [np.nan, 1, 2], [np.inf, 1, 0]], np.float32)
    np.testing.assert_array_equal(clipped(rows, np.inf), rows)
    np.testing.assert_array_equal(clipped(rows, 2.0)[1:], rows[1:])
