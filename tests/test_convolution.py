"""Convolutions with their own gradients, and pooling, against XLA's and against loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.convolution import convolve, convolve_inside, max_pool

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 5, 4, 3))
KERNEL = RNG.normal(size=(3, 3, 3, 2))


WIDE_IMAGES = RNG.normal(size=(2, 7, 6, 3))
WIDE_KERNEL = RNG.normal(size=(5, 5, 3, 2))


def by_loops(images, kernel):
    """Without padding."""
    size = len(kernel)
    batch, height, width = images.shape[0], images.shape[1] - size + 1, images.shape[2] - size + 1
    result = np.zeros((batch, height, width, kernel.shape[-1]))
    for b, y, x in itertools.product(range(batch), range(height), range(width)):
        result[b, y, x] = np.einsum("ijc,ijcd->d", images[b, y : y + size, x : x + size], kernel)
    return result


CASES = {
    "SAME": (convolve, IMAGES, KERNEL),
    "VALID": (convolve_inside, WIDE_IMAGES, WIDE_KERNEL),
}


@pytest.mark.parametrize("padding", CASES)
def test_values(padding):
    function, images, kernel = CASES[padding]
    edges = ((0, 0), (1, 1), (1, 1), (0, 0)) if padding == "SAME" else ((0, 0),) * 4
    got = function(jnp.asarray(images), jnp.asarray(kernel))
    np.testing.assert_allclose(got, by_loops(np.pad(images, edges), kernel), atol=2e-5)


@pytest.mark.parametrize("padding", CASES)
def test_gradient_is_autodiff_s(padding):
    function, *arrays = CASES[padding]

    def xla(images, kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def loss(function, images, kernel):
        return jnp.sum(jnp.sin(function(images, kernel)))

    arguments = [jnp.asarray(array, jnp.float32) for array in arrays]
    ours = jax.grad(loss, argnums=(1, 2))(function, *arguments)
    theirs = jax.grad(loss, argnums=(1, 2))(xla, *arguments)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


def test_pooling_and_its_gradient():
    images = RNG.normal(size=(2, 4, 6, 3)).astype(np.float32)
    weights = RNG.normal(size=(2, 2, 3, 3)).astype(np.float32)
    pooled, pull_back = jax.vjp(max_pool, images)
    (gradient,) = pull_back(weights)
    want = np.zeros_like(images)
    for b, y, x, c in np.ndindex(weights.shape):
        block = images[b, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, c]
        assert pooled[b, y, x, c] == block.max()
        i, j = np.unravel_index(block.argmax(), block.shape)
        want[b, 2 * y + i, 2 * x + j, c] = weights[b, y, x, c]
    np.testing.assert_array_equal(gradient, want)


def test_equal_pixels_share_the_gradient():
    gradient = jax.grad(lambda images: jnp.sum(max_pool(images)))(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(gradient, np.full((1, 2, 2, 1), 0.25))
