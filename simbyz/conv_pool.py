"""A layer of a small convolutional network: convolution, max-pool, bias and ReLU.

With few channels a convolution on a CPU is a matrix product over the windows of the images, laid
out as columns, and a third of its time goes into laying them out and into pooling. Both are quick
with the batch as the last axis, (C, H, W, B): a window's pixels of all images then lie side by
side, and so do the pixels that a pool compares.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


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
        pooled = max_pool(convolve(images.transpose(3, 1, 2, 0), kernel))
        return nn.relu(pooled + bias[:, None, None, None]).transpose(3, 1, 2, 0)


def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution without padding: (C, H, W, B), (s, s, C, D) -> (D, H - s + 1, W - s + 1, B).

    Each of its passes, the gradients too, is one matrix product over the windows of the images.
    """
    size, features = len(kernel), kernel.shape[-1]
    height, width = (side - size + 1 for side in images.shape[1:3])
    columns = jnp.stack([images[:, :, j : j + width] for j in range(size)])
    windows = jnp.stack([columns[:, :, i : i + height] for i in range(size)])
    # Of matrices, as those of arrays of higher rank would transpose the windows first.
    products = kernel.reshape(-1, features).T @ windows.reshape(kernel.size // features, -1)
    return products.reshape(features, height, width, -1)


@jax.custom_vjp
def max_pool(images: jax.Array) -> jax.Array:
    """The largest of each 2 × 2 pixels: (., H, W, .) -> (., H / 2, W / 2, .), H and W even.

    The gradient goes to the first of them that is the largest, row by row: XLA's would look for it
    again, pixel by pixel.
    """
    return _forward(images)[0]


def _forward(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    first, height, width, last = images.shape
    blocks = images.reshape(first, height // 2, 2, width // 2, 2, last)
    a, b, c, d = (blocks[:, :, i, :, j] for i in range(2) for j in range(2))
    largest = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    place = jnp.where(a == largest, 0, jnp.where(b == largest, 1, jnp.where(c == largest, 2, 3)))
    return largest, place


def _backward(place: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    first, height, width, last = place.shape
    a, b, c, d = (jnp.where(place == number, gradient, 0) for number in range(4))
    # In stacks of stacks: one comparison with all places at once takes XLA:CPU ten times as long.
    rows = jnp.stack([jnp.stack([a, b], 3), jnp.stack([c, d], 3)], 2)
    return (rows.reshape(first, 2 * height, 2 * width, last),)


max_pool.defvjp(_forward, _backward)
