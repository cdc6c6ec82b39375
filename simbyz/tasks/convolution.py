"""A convolution with its own gradients, for CPUs.

XLA:CPU computes the weight gradient of a convolution as a convolution whose window is as large as
the image, and under `vmap` over workers as a grouped one; inside a loop both take a slow
single-threaded path (jax-ml/jax#12868). Here the gradient of the weights is a matrix product for
each place in the window. With few channels these products are too thin: `simbyz.tasks.conv_pool`.
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
