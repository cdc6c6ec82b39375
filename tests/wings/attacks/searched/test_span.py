"""Vectors as a few numbers each: their inner products, and the way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.attacks.searched.span import in_span


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e15])
def test_few_numbers_keep_all_inner_products(scale, devices, monkeypatch):
    """Of equal, dependent and zero vectors, too; and of more vectors than coordinates."""
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    rng = np.random.default_rng(0)
    for d in (40, 4):
        rows = rng.normal(size=(6, d)) + 5
        rows = np.concatenate([rows, rows[:1], rows[1:2] - 2 * rows[2:3], np.zeros((1, d))])
        numbers, directions = in_span(jnp.asarray(rows * scale, jnp.float32))
        numbers = np.asarray(numbers, float) / scale
        largest = np.square(rows).sum(axis=1).max()
        np.testing.assert_allclose(numbers @ numbers.T, rows @ rows.T, atol=3e-6 * largest)
        np.testing.assert_allclose(numbers @ np.asarray(directions, float), rows, atol=1e-4)
