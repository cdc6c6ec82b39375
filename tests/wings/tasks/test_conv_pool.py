"""Convolution with the batch as the last axis, pooling, the layer of both: by loops, by flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from simbyz.tasks.conv_pool import ConvPool, convolve_windows, max_pool
from tests.reference.convolution import by_loops
from tests.support.compiled import quick_jit

RNG = np.random.default_rng(0)


def test_convolution():
    images, kernel = RNG.normal(size=(4, 7, 6, 3)), RNG.normal(size=(5, 5, 3, 2))
    got = convolve_windows(jnp.asarray(images.transpose(3, 1, 2, 0)), jnp.asarray(kernel))
    np.testing.assert_allclose(got.transpose(3, 1, 2, 0), by_loops(images, kernel), atol=2e-5)


def test_pooling_and_its_gradient():
    images = RNG.integers(0, 3, size=(2, 4, 6, 3)).astype(np.float32)  # many of them equal
    weights = RNG.normal(size=(2, 2, 3, 3)).astype(np.float32)
    pooled, pull_back = jax.vjp(max_pool, images)
    (gradient,) = pull_back(weights)
    want = np.zeros_like(images)
    for b, y, x, c in np.ndindex(weights.shape):
        block = images[b, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, c]
        assert pooled[b, y, x, c] == block.max()
        i, j = np.unravel_index(block.argmax(), block.shape)  # the first
        want[b, 2 * y + i, 2 * x + j, c] = weights[b, y, x, c]
    np.testing.assert_array_equal(gradient, want)


@pytest.mark.slower
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_layer_and_its_gradients_are_flax_s(backend, monkeypatch):
    """As convolution, bias, ReLU and pooling of flax, here with the code of either device."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    start = nn.initializers.normal(1.0)
    module = ConvPool(3, 5, start, name="Conv_0")
    images = RNG.normal(size=(3, 8, 10, 2)).astype(np.float32)
    parameters = quick_jit(module.init)(jax.random.key(0), images)["params"]

    def ours(parameters, images):
        return jnp.sum(jnp.sin(module.apply({"params": parameters}, images)))

    def flax_s(parameters, images):
        convolved = nn.Conv(3, (5, 5), padding="VALID").apply({"params": parameters}, images)
        return jnp.sum(jnp.sin(nn.max_pool(nn.relu(convolved), (2, 2), strides=(2, 2))))

    got, want = (
        quick_jit(jax.value_and_grad(function, argnums=(0, 1)))(parameters, images)
        for function in (ours, flax_s)
    )
    for one, other in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slower
def test_two_layers_do_not_transpose_in_between():
    """The end of the one layer and the beginning of the other cancel in the compiled program."""
    start = nn.initializers.normal(1.0)
    network = nn.Sequential([ConvPool(2, 5, start), ConvPool(3, 5, start)])
    images = jnp.zeros((7, 28, 28, 1))
    parameters = jax.eval_shape(network.init, jax.random.key(0), images)
    text = jax.jit(network.apply).lower(parameters, images).compile().as_text()
    assert "f32[7,12,12,2]" not in text and "f32[2,12,12,7]" in text
