"""Minimal filtering, against loops and windows in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.tasks import winograd
from tests.reference.convolution import by_loops

# Images, height, width, channels, features: whole tiles, parts of some, less than one.
SIZES = [(2, 8, 12, 3, 2), (3, 5, 7, 2, 4), (2, 9, 4, 1, 1), (1, 1, 3, 2, 2)]


def drawn(batch, height, width, channels, features):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch, height, width, channels))
    kernel = rng.normal(size=(3, 3, channels, features)) / np.sqrt(9 * channels)
    return images, kernel, rng.normal(size=(batch, height, width, features))


def padded(images):
    return np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))


def gradient_by_windows(images, gradient):
    windows = np.lib.stride_tricks.sliding_window_view(padded(images), (3, 3), axis=(1, 2))
    return np.einsum("byxcij,byxd->ijcd", windows, gradient)


@pytest.mark.parametrize("at_once", [1, 2**19])
@pytest.mark.parametrize("sizes", SIZES)
def test_it_is_a_convolution(sizes, at_once, monkeypatch):
    """And so is its weights' gradient the sum over windows: to some tens of roundings."""
    monkeypatch.setattr(winograd, "AT_ONCE", at_once)  # the images one by one, or all at once
    images, kernel, gradient = drawn(*sizes)
    with jax.enable_x64(True):
        result = winograd.convolve(jnp.asarray(images), jnp.asarray(kernel))
        of_weights = winograd.weight_gradient(jnp.asarray(images), jnp.asarray(gradient))
    np.testing.assert_allclose(result, by_loops(padded(images), kernel), atol=1e-13)
    want = gradient_by_windows(images, gradient)
    np.testing.assert_allclose(of_weights, want, atol=1e-13 * np.abs(want).max())


def test_error_in_float32():
    """With 64 channels, as in the paper's network: 1e-6 of the result's norm was found, where a
    rounding is 6e-8 and the direct products have 4e-7; here twice that.
    """
    images, kernel, gradient = drawn(3, 16, 16, 64, 48)
    single = [jnp.asarray(array, jnp.float32) for array in (images, kernel, gradient)]
    images, kernel, gradient = (np.float64(array) for array in single)
    for got, want in (
        (winograd.convolve(*single[:2]), by_loops(padded(images), kernel)),
        (winograd.weight_gradient(*single[::2]), gradient_by_windows(images, gradient)),
    ):
        assert np.linalg.norm(got - want) <= 2e-6 * np.linalg.norm(want)
