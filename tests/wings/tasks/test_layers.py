"""The convolution with its own gradients, against loops and against XLA's."""

import jax
import jax.numpy as jnp
import numpy as np

from simbyz.tasks.layers import convolve_same
from tests.reference.convolution import by_loops

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 5, 4, 3))
KERNEL = RNG.normal(size=(3, 3, 3, 2))


def test_values():
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    got = convolve_same(jnp.asarray(IMAGES), jnp.asarray(KERNEL))
    np.testing.assert_allclose(got, by_loops(padded, KERNEL), atol=2e-5)


def test_gradient_is_autodiff_s():
    def xla(images, kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def loss(function, images, kernel):
        return jnp.sum(jnp.sin(function(images, kernel)))

    arguments = [jnp.asarray(array, jnp.float32) for array in (IMAGES, KERNEL)]
    ours = jax.grad(loss, argnums=(1, 2))(convolve_same, *arguments)
    theirs = jax.grad(loss, argnums=(1, 2))(xla, *arguments)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


def test_weight_gradient_in_half_precision_is_summed_in_single():
    """Of images that bfloat16 holds: off by the rounding of the result alone, 2⁻⁹."""
    images, gradient = (
        jnp.asarray(RNG.normal(size=(40, 4, 4, channels)), jnp.bfloat16) for channels in (3, 2)
    )
    _, pull_back = jax.vjp(convolve_same, images, jnp.zeros((3, 3, 3, 2), jnp.bfloat16))
    got = pull_back(gradient)[1]
    padded = np.pad(np.float64(images), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    want = np.einsum("byxcij,byxd->ijcd", windows, np.float64(gradient))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float64(got), want, rtol=2**-8, atol=1e-4)
