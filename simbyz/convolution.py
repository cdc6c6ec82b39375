"""Convolutions with their own gradients, for CPUs.

XLA:CPU computes the weight gradient of a convolution as a convolution whose window is as large as
the image, and under `vmap` over workers as a grouped one; inside a loop both take a slow
single-threaded path (jax-ml/jax#12868). Here the gradient of the weights is a matrix product for
each place in the window, or one for all of them.
"""

import itertools

import jax
import jax.numpy as jnp


@jax.custom_vjp
def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution with zero padding: (B, H, W, C), (3, 3, C, D) -> (B, H, W, D).

    The gradient of the input is a plain convolution, that of the weights nine matrix products.
    """
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _forward(images: jax.Array, kernel: jax.Array):
    return convolve(images, kernel), (images, kernel)


def _backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array):
    images, kernel = saved
    _, height, width, channels = images.shape
    mirrored = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    by_pixel = gradient.reshape(-1, gradient.shape[-1])
    by_place = [
        padded[:, i : i + height, j : j + width].reshape(-1, channels).T @ by_pixel
        for i, j in itertools.product(range(3), range(3))
    ]
    return convolve(gradient, mirrored), jnp.stack(by_place).reshape(kernel.shape)


convolve.defvjp(_forward, _backward)


@jax.custom_vjp
def convolve_inside(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution without padding: (B, H, W, C), (s, s, C, D) -> (B, H - s + 1, W - s + 1, D).

    All three passes are one matrix product over the windows of the images, laid out as rows. That
    is for few channels, where a product for each place in the window would be too thin.
    """
    rows = _windows(images, len(kernel))
    return rows @ kernel.reshape(-1, kernel.shape[-1])


def _windows(images: jax.Array, size: int) -> jax.Array:
    """The window at each pixel: (B, H, W, C) -> (B, H - s + 1, W - s + 1, s · s · C)."""
    height, width = images.shape[1] - size + 1, images.shape[2] - size + 1
    places = itertools.product(range(size), range(size))
    return jnp.concatenate([images[:, i : i + height, j : j + width] for i, j in places], axis=-1)


def _forward_inside(images: jax.Array, kernel: jax.Array):
    return convolve_inside(images, kernel), (images, kernel)


def _backward_inside(saved: tuple[jax.Array, jax.Array], gradient: jax.Array):
    images, kernel = saved
    size, channels = len(kernel), images.shape[-1]
    rows = _windows(images, size)
    by_pixel = gradient.reshape(-1, gradient.shape[-1])
    of_kernel = rows.reshape(-1, rows.shape[-1]).T @ by_pixel
    # Of each window, added up where the windows lie.
    of_rows = gradient @ kernel.reshape(-1, kernel.shape[-1]).T
    of_images = jnp.zeros_like(images)
    for number, (i, j) in enumerate(itertools.product(range(size), range(size))):
        part = of_rows[..., number * channels : (number + 1) * channels]
        margins = ((0, 0), (i, size - 1 - i), (j, size - 1 - j), (0, 0))
        of_images = of_images + jnp.pad(part, margins)
    return of_images, of_kernel.reshape(kernel.shape)


convolve_inside.defvjp(_forward_inside, _backward_inside)


def max_pool(images: jax.Array) -> jax.Array:
    """The largest of each 2 × 2 pixels: (B, H, W, C) -> (B, H / 2, W / 2, C), H and W even.

    As maxima of strided slices: the gradient of XLA's pooling looks for the largest again, pixel by
    pixel. Where the largest are equal they share the gradient.
    """
    batch, height, width, channels = images.shape
    blocks = images.reshape(batch, height // 2, 2, width // 2, 2, channels)
    upper, lower = blocks[:, :, 0], blocks[:, :, 1]
    largest = jnp.maximum(upper, lower)
    return jnp.maximum(largest[:, :, :, 0], largest[:, :, :, 1])
