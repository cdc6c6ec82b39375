"""Layers of the networks whose gradients fit a CPU: an affine map, a convolution."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp

from simbyz.tasks import winograd

Saved = tuple[jax.Array, jax.Array]  # images, kernel

# Channels and features, both, of the convolutions that `winograd` computes.
LEAST_FILTERED = 32


def require_images(images: jax.Array, least: int = 1) -> None:
    """Raises ValueError where a network's inputs are no images, or smaller ones than it takes."""
    if images.ndim != 4 or min(images.shape[1:3]) < least:
        raise ValueError(
            f"they must be images (B, height, width, channels) of at least {least} by {least} "
            f"pixels, got {images.shape}: Dense() takes any"
        )


class Affine(nn.Module):
    """x · kernelᵀ + bias: (..., inputs) -> (..., features), the kernel kept as (features, inputs).

    With many inputs and few features, as in an image classifier's first layer, the product that
    gives the weight gradient of every worker, (features × batch) · (batch × inputs), then has its
    long side contiguous: 1.3 to 1.5 times as fast on a CPU as the transpose of it that flax's
    layout asks for.

    Attributes:
      features: length of the output.
      start: draws the kernel as (inputs, features), hence the values of flax's layer, and the bias.
    """

    features: int
    start: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", lambda key: self.start(key, shape, jnp.float32).T)
        bias = self.param("bias", self.start, (self.features,), jnp.float32)
        x = jnp.einsum("...i,oi->...o", x, kernel)
        return x + jnp.broadcast_to(bias, x.shape)


@jax.custom_vjp
def convolve_same(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution with zero padding: (B, H, W, C), (3, 3, C, D) -> (B, H, W, D).

    On a CPU by `simbyz.tasks.winograd`, where there are channels enough. Otherwise the gradient of
    the input is a plain convolution, that of the weights a matrix product an image, over the
    windows of its pixels laid out as columns, which stay in the cache. XLA:CPU computes it as a
    convolution whose window is as large as the image, and under `vmap` over workers as a grouped
    one; inside a loop both take a slow single-threaded path (jax-ml/jax#12868, jaxlib 0.10.2). With
    few channels these products are too thin: `simbyz.tasks.conv_pool`.
    """
    if _filtered(images, kernel):
        return winograd.convolve(images, kernel)
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _forward(images: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Saved]:
    return convolve_same(images, kernel), (images, kernel)


def _backward(saved: Saved, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    images, kernel = saved
    mirrored = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    of_weights = winograd.weight_gradient if _filtered(images, kernel) else _of_weights
    return convolve_same(gradient, mirrored), of_weights(images, gradient)


def _filtered(images: jax.Array, kernel: jax.Array) -> bool:
    """Whether `winograd` is the quicker one: not with few channels (with 16 it takes 1.4 times as
    long). In half precision its errors would be too large.
    """
    return (
        jax.default_backend() == "cpu"
        and images.dtype == kernel.dtype
        and images.dtype in (jnp.float32, jnp.float64)
        and images.size > 0
        and min(kernel.shape[2:]) >= LEAST_FILTERED
    )


def _of_weights(images: jax.Array, gradient: jax.Array) -> jax.Array:
    """(B, H, W, C), (B, H, W, D) -> (3, 3, C, D), image by image."""
    _, height, width, channels = images.shape
    features = gradient.shape[-1]

    def add(total: jax.Array, one: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        image, by_pixel = one
        padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
        windows = [
            padded[i : i + height, j : j + width] for i, j in itertools.product(range(3), range(3))
        ]
        columns = jnp.concatenate(windows, -1).reshape(-1, 9 * channels)
        # The few features first: with the windows there, the product takes 1.5 times as long.
        rows = by_pixel.reshape(-1, features).T
        return total + jnp.matmul(rows, columns, preferred_element_type=total.dtype), None

    # Half precision would lose digits of a sum over images.
    dtype = jnp.promote_types(gradient.dtype, jnp.float32)
    nothing = jnp.zeros((features, 9 * channels), dtype)
    total, _ = jax.lax.scan(add, nothing, (images, gradient))
    return total.T.reshape(3, 3, channels, features).astype(gradient.dtype)


convolve_same.defvjp(_forward, _backward)
