"""The floor of a step: its matrix products at the device's rate, and passes over its stack.

What is timed has to fill the device. On a CPU's core one small product and one stack do; elsewhere
the product is larger, and as many stacks are taken at once as leave every cache.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz.tasks.models import Dense

# Bytes of stacks at once, where one is too small to be timed.
FILLING = 2**30
MOST_LANES = 64

# Products in a row, of which the first warms up: one alone, after a second of something else, read
# up to 2.4 times as long on an Intel Xeon, and flattered all that was compared with it.
IN_A_ROW = 20


def side() -> int:
    """Of the square product that tells the device's rate."""
    return 1024 if jax.default_backend() == "cpu" else 8192


def lanes(n: int, d: int) -> int:
    """How many float32 stacks (n, d) to time at once, as lanes of a sweep are."""
    return 1 if jax.default_backend() == "cpu" else max(1, min(MOST_LANES, FILLING // (4 * n * d)))


class Product(NamedTuple):
    """A layer's matrix product, (rows, inputs) · (inputs, features), computed `times` times: once
    forward, once for the gradient of its weights, and once for that of its inputs.
    """

    rows: int
    inputs: int
    features: int
    times: int

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.inputs * self.features * self.times


def products(
    shape: tuple[int, ...], num_classes: int, images: int, *, gradient: bool
) -> list[Product]:
    """The matrix products of the paper's networks on so many images (height, width, channels).

    A 3 × 3 convolution is the product that it is as a matrix, a row a pixel, though on a CPU fewer
    multiplications do (`simbyz.tasks.winograd`). The first layer's inputs need no gradient.
    """
    height, width, channels = shape
    layers = []  # rows an image, inputs, features
    hidden = Dense().hidden
    if channels == 3:
        for features in (64, 128):
            for inputs in (channels, features):
                layers.append((height * width, 9 * inputs, features))
            channels, height, width = features, height // 2, width // 2
        hidden = 128 if num_classes <= 10 else 256
    layers += [(1, height * width * channels, hidden), (1, hidden, num_classes)]
    return [
        Product(images * rows, inputs, features, 1 + gradient * (1 if i == 0 else 2))
        for i, (rows, inputs, features) in enumerate(layers)
    ]


def square_product(a: jax.Array) -> jax.Array:
    """Its time tells the rate of matrix products: `rate`."""
    return jnp.matmul(a, a)


def in_a_row(call: Callable[[], object]) -> Callable[[], None]:
    """The call, so many times that the first does not matter."""

    def compute() -> None:
        for _ in range(IN_A_ROW):
            call()

    return compute


def rate(seconds: float) -> float:
    """Operations a second, from the time of `square_product` of `side()`, `in_a_row`."""
    return IN_A_ROW * 2 * side() ** 3 / seconds


def forward(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A dense layer's product alone, all workers' images at once."""
    return images.reshape(-1, images.shape[-1]) @ kernel.T


def weight_gradients(images: jax.Array, gradients: jax.Array) -> jax.Array:
    """A dense layer's weight gradients alone, one a worker: (h, features, inputs)."""
    return jnp.einsum("hbi,hbo->hoi", images, gradients)


one_pass = moments.mean
