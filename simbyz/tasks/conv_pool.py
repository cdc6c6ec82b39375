"""A layer of a small convolutional network: convolution, max-pool, bias and ReLU.

With few channels a convolution on a CPU is a matrix product over the windows of the images, laid
out as columns, and a third of its time goes into laying them out and into pooling. Both are quick
with the batch as the last axis, (C, H, W, B): a window's pixels of all images then lie side by
side, and so do the pixels that a pool compares.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

Saved = tuple[jax.Array, jax.Array, jax.Array]  # images, kernel, windows


class ConvPool(nn.Module):
    """Convolution without padding, 2 × 2 max-pool, bias, ReLU.

    (B, H, W, C) -> (B, (H - size + 1) / 2, (W - size + 1) / 2, features), both sides even before
    they are halved. As bias and ReLU keep the order of numbers, they may as well come first.

    Attributes:
      features: channels of the output.
      size: height and width of the kernel.
      start: draws the kernel and the bias.
    """

    features: int
    size: int
    start: nn.initializers.Initializer

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        shape = (self.size, self.size, images.shape[-1], self.features)
        kernel = self.param("kernel", self.start, shape, jnp.float32)
        bias = self.param("bias", self.start, (self.features,), jnp.float32)
        if jax.default_backend() != "cpu":
            pooled = max_pool(
                jax.lax.conv_general_dilated(
                    images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
            )
            return nn.relu(pooled + jnp.broadcast_to(bias, pooled.shape))
        # Between two such layers these transpositions cancel.
        pooled = max_pool(convolve_windows(images.transpose(3, 1, 2, 0), kernel))
        return nn.relu(pooled + bias[:, None, None, None]).transpose(3, 1, 2, 0)


@jax.custom_vjp
def convolve_windows(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution without padding: (C, H, W, B), (s, s, C, D) -> (D, H - s + 1, W - s + 1, B).

    Each of its passes is one product of matrices, (s · s · C, D) and the windows of the images. The
    gradients are spelt out, as what JAX makes of them under `vmap` transposes the windows first.
    """
    return _forward(images, kernel)[0]


def _windows(images: jax.Array, size: int) -> jax.Array:
    """(C, H, W, B) -> (s, s, C, H - s + 1, W - s + 1, B)."""
    height, width = (side - size + 1 for side in images.shape[1:3])
    columns = jnp.stack([images[:, :, j : j + width] for j in range(size)])
    return jnp.stack([columns[:, :, i : i + height] for i in range(size)])


def _forward(images: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Saved]:
    windows = _windows(images, len(kernel))
    shape, kernel_matrix = windows.shape[3:], kernel.reshape(-1, kernel.shape[-1])
    windows = windows.reshape(len(kernel_matrix), -1)
    products = jnp.einsum("kd,kn->dn", kernel_matrix, windows)
    return products.reshape(-1, *shape), (images, kernel, windows)


def _backward(saved: Saved, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    images, kernel, windows = saved
    by_pixel = gradient.reshape(len(gradient), -1)
    of_kernel = jnp.einsum("kn,dn->kd", windows, by_pixel)
    of_windows = jnp.einsum("kd,dn->kn", kernel.reshape(of_kernel.shape), by_pixel)
    # Of each window, added up where the windows lie.
    transposed = jax.linear_transpose(lambda images: _windows(images, len(kernel)), images)
    of_windows = of_windows.reshape(*kernel.shape[:3], *gradient.shape[1:])
    return *transposed(of_windows), of_kernel.reshape(kernel.shape)


convolve_windows.defvjp(_forward, _backward)


@jax.custom_vjp
def max_pool(images: jax.Array) -> jax.Array:
    """The largest of each 2 × 2 pixels: (., H, W, .) -> (., H / 2, W / 2, .), H and W even.

    The gradient goes to the first of them that is the largest, row by row, as XLA's and PyTorch's
    does; XLA:CPU would look for it again, pixel by pixel.
    """
    return _largest(images)[0]


def _largest(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    first, height, width, last = images.shape
    blocks = images.reshape(first, height // 2, 2, width // 2, 2, last)
    a, b, c, d = (blocks[:, :, i, :, j] for i in range(2) for j in range(2))
    largest = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    place = jnp.where(a == largest, 0, jnp.where(b == largest, 1, jnp.where(c == largest, 2, 3)))
    return largest, place


def _spread(place: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    first, height, width, last = place.shape
    a, b, c, d = (jnp.where(place == number, gradient, 0) for number in range(4))
    # In stacks of stacks: one comparison with all places at once takes XLA:CPU ten times as long.
    rows = jnp.stack([jnp.stack([a, b], 3), jnp.stack([c, d], 3)], 2)
    return (rows.reshape(first, 2 * height, 2 * width, last),)


max_pool.defvjp(_largest, _spread)
