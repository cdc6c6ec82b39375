"""The convolution with its own gradients, against loops and against XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.tasks.layers import convolve_same
from tests.reference.convolution import by_loops

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 5, 4, 3))
KERNEL = RNG.normal(size=(3, 3, 3, 2))


def test_values():
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    got = convolve_same(jnp.asarray(IMAGES), jnp.asarray(KERNEL))
    np.testing.assert_allclose(got, by_loops(padded, KERNEL), atol=2e-5)


def xla(images, kernel):
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def loss(function, images, kernel):
    return jnp.sum(jnp.sin(function(images, kernel)))


def many_channels():
    """So many that few products are taken: (2, 5, 6, 32), (3, 3, 32, 33)."""
    images, kernel = RNG.normal(size=(2, 5, 6, 32)), RNG.normal(size=(3, 3, 32, 33)) / 17
    return jnp.asarray(images, jnp.float32), jnp.asarray(kernel, jnp.float32)


def test_gradient_is_autodiff_s():
    arguments = [jnp.asarray(array, jnp.float32) for array in (IMAGES, KERNEL)]
    for some in (arguments, many_channels()):
        ours = jax.grad(loss, argnums=(1, 2))(convolve_same, *some)
        theirs = jax.grad(loss, argnums=(1, 2))(xla, *some)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("few", [True, False])
def test_second_derivative_of_several_workers(few):
    """Times a direction, by reverse mode twice, compiled, two workers at once; in float64."""
    images, kernel = map(np.float64, (IMAGES, KERNEL) if few else many_channels())
    workers = [np.stack([array, -2 * array]) for array in (images, kernel)]

    def of_all(function):
        def along(images, kernel):
            slopes = jax.grad(loss, argnums=(1, 2))(function, images, kernel)
            return jnp.sum(slopes[0] * kernel.mean()) + jnp.sum(slopes[1] * kernel)

        return jax.jit(jax.vmap(jax.grad(along, argnums=(0, 1))))(*workers)

    with jax.enable_x64(True):
        for one, other in zip(of_all(convolve_same), of_all(xla), strict=True):
            assert one.dtype == jnp.float64
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13 * np.abs(other).max())


@pytest.mark.parametrize(
    ("backend", "dtype", "channels", "few"),
    [
        ("cpu", "float32", 32, True),
        ("cpu", "bfloat16", 32, False),  # its digits would not do
        ("cpu", "float32", 31, False),
        ("gpu", "float32", 32, False),
    ],
)
def test_few_products_where_they_are_quicker(backend, dtype, channels, few, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    images = jax.ShapeDtypeStruct((2, 4, 4, channels), dtype)
    kernel = jax.ShapeDtypeStruct((3, 3, channels, 40), dtype)
    traced = str(
        jax.make_jaxpr(jax.grad(lambda *given: loss(convolve_same, *given)))(images, kernel)
    )
    assert ("conv_general_dilated" not in traced) == few


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
