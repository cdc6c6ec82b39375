"""The convolution with its own gradient against XLA's and against loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from simbyz.convolution import convolve

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 5, 4, 3))
KERNEL = RNG.normal(size=(3, 3, 3, 2))


def by_loops(images, kernel):
    batch, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    result = np.zeros((batch, height, width, kernel.shape[-1]))
    for b, y, x in itertools.product(range(batch), range(height), range(width)):
        result[b, y, x] = np.einsum("ijc,ijcd->d", padded[b, y : y + 3, x : x + 3], kernel)
    return result


def test_values():
    np.testing.assert_allclose(
        convolve(jnp.asarray(IMAGES), jnp.asarray(KERNEL)), by_loops(IMAGES, KERNEL), atol=1e-5
    )


def test_gradient_is_autodiff_s():
    def xla(images, kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def loss(function, images, kernel):
        return jnp.sum(jnp.sin(function(images, kernel)))

    arguments = jnp.asarray(IMAGES, jnp.float32), jnp.asarray(KERNEL, jnp.float32)
    ours = jax.grad(loss, argnums=(1, 2))(convolve, *arguments)
    theirs = jax.grad(loss, argnums=(1, 2))(xla, *arguments)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
