"""Image classifiers of the paper, as flax modules.

Float images (B, height, width, channels) go in, `num_classes` LOGITS come out: the paper's networks
end in a log-softmax, which is left to the cross-entropy of the loss. All are called as
`module.apply(variables, images, train=False)`, `train` being a static bool; as published, gradients
too are computed in inference mode, the default.

Parameters start as PyTorch starts them, weights and biases uniform in ±1/√fan_in.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from simbyz._arrays.checks import at_least, integer
from simbyz.tasks.conv_pool import ConvPool, max_pool
from simbyz.tasks.layers import Affine, convolve_same, require_images

# PyTorch's default of batch norm, and what the paper's program ran with.
EPSILON = 1e-5


class Dense(nn.Module):
    """Flatten, dense, ReLU, dense.

    The paper's network for MNIST and Fashion-MNIST: 784-100-10, d = 79,510.
    """

    hidden: int = 100
    num_classes: int = 10

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        del train
        x = _flatten(images)
        x = nn.relu(_dense(x, self.hidden, 0))
        return _dense(x, self.num_classes, 1)


class SmallConv(nn.Module):
    """Two 5x5 convolutions without padding, each with a max-pool, and two dense layers.

    `simples-conv` of the paper's program, whose experiments do not use it, and `cnn_mnist` of
    ByzFL, for MNIST: 20-50-500-10, d = 431,080.
    """

    hidden: int = 500
    num_classes: int = 10

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        del train
        require_images(images, 16)
        x = ConvPool(20, 5, _uniform(25 * images.shape[-1]), name="Conv_0")(images)
        x = ConvPool(50, 5, _uniform(25 * 20), name="Conv_1")(x)
        x = nn.relu(_dense(_flatten(x), self.hidden, 0))
        return _dense(x, self.num_classes, 1)


class Conv(nn.Module):
    """The paper's network for CIFAR-10 (d = 1,310,922) and CIFAR-100 (d = 2,384,036).

    3x3 convolutions 3-64-64, max-pool, 64-128-128, max-pool, dense 8192-hidden-classes; ReLU, then
    batch norm, after each convolution; dropout after both pools and before the last layer.

    Attributes:
      hidden: width of the dense layer; None: the paper's, 128 for up to ten classes, 256 for more.
      batch_norm: "frozen" keeps the initial statistics (mean 0, variance 1) for ever, a learned
        affine map: what the paper's program computes, being always in inference mode. "batch" is
        true batch norm: with the batch's statistics when `train`, else with the running ones in the
        collection "batch_stats", which `train` updates.
      dropout: rate; acts only when `train` and a "dropout" key is given.

    Raises:
      ValueError: an unknown batch_norm.

    Convention: the running variance follows the biased variance of a batch, as flax does;
      PyTorch's follows the unbiased one.
    """

    num_classes: int = 10
    hidden: int | None = None
    batch_norm: Literal["frozen", "batch"] = "frozen"
    dropout: float = 0.25

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        require_images(images, 4)
        hidden = self.hidden
        if hidden is None:
            hidden = 128 if self.num_classes <= 10 else 256

        x = images
        for channels in (64, 128):
            for _ in range(2):
                x = nn.relu(_conv(x, channels, size=3, padding="SAME"))
                x = _batch_norm(x, self.batch_norm, train)
            x = _drop(self, _halve(x), self.dropout, train)
        x = nn.relu(_dense(_flatten(x), hidden, 0))
        return _dense(_drop(self, x, self.dropout, train), self.num_classes, 1)


class WideResNet(nn.Module):
    """Wide residual network with pre-activation, for CIFAR: 28-10 has d = 36,489,290.

    A 3x3 convolution to 16 channels; three stages of (depth - 4) / 6 blocks, 16, 32 and 64 times
    `width` channels wide, the last two halving the image; batch norm, ReLU, mean over the image,
    dense. A block is batch norm, ReLU, 3x3 convolution, dropout, batch norm, ReLU, 3x3 convolution
    (which halves), plus its own input, through a 1x1 convolution where their shapes differ.

    Attributes:
      depth: 6 k + 4, at least 10.
      width: factor of the channels.
      batch_norm, dropout: as in `Conv`.

    Raises:
      ValueError: a depth that is not 6 k + 4, an unknown batch_norm.

    Reference: Zagoruyko and Komodakis, Wide residual networks, BMVC 2016.
    Convention: as in the network that the paper's program takes, every convolution has a bias, the
      1x1 ones too (without these 10,096 biases the 28-10 network has d = 36,479,194), the second
      convolution of a block halves, and the 1x1 one reads the block's input as it comes.
    """

    depth: int = 28
    width: int = 10
    num_classes: int = 10
    batch_norm: Literal["frozen", "batch"] = "frozen"
    dropout: float = 0.3

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        if self.depth < 10 or self.depth % 6 != 4:
            raise ValueError(f"depth must be 10, 16, 22, 28 ..., got {self.depth}")
        width = at_least("width", self.width, 1)
        require_images(images)
        x = _conv(images, 16, size=3, padding="SAME")
        for stage, channels in enumerate((16, 32, 64)):
            for block in range((self.depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                x = self._block(x, channels * width, stride, train)
        x = nn.relu(_batch_norm(x, self.batch_norm, train))
        return _dense(jnp.mean(x, axis=(1, 2)), self.num_classes, 0)

    def _block(self, x: jax.Array, features: int, stride: int, train: bool) -> jax.Array:
        inner = nn.relu(_batch_norm(x, self.batch_norm, train))
        inner = _conv(inner, features, size=3, padding="SAME")
        inner = _drop(self, inner, self.dropout, train)
        inner = nn.relu(_batch_norm(inner, self.batch_norm, train))
        # PyTorch pads both sides; SAME would pad one side only where the image is halved.
        padding = "SAME" if stride == 1 else ((1, 1), (1, 1))
        inner = _conv(inner, features, size=3, padding=padding, stride=stride)
        if x.shape != inner.shape:
            x = _conv(x, features, size=1, padding="VALID", stride=stride)
        return x + inner


class FrozenBatchNorm(nn.Module):
    """Batch norm of mean 0 and variance 1, its initial statistics: scale · x / √(1 + ε) + bias."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        # Shaped like x, so that ranks are promoted on purpose and not by accident.
        scale, bias = (jnp.broadcast_to(p, x.shape) for p in (scale, bias))
        return x * (scale / (1 + EPSILON) ** 0.5) + bias


def _batch_norm(x: jax.Array, kind: str, train: bool) -> jax.Array:
    if kind == "frozen":
        return FrozenBatchNorm()(x)
    if kind == "batch":
        # flax's momentum is the weight of the past: PyTorch's default of 0.1 is 0.9 here.
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=EPSILON)(x)
    raise ValueError(f'batch_norm must be "frozen" or "batch", got {kind!r}')


def _drop(module: nn.Module, x: jax.Array, rate: float, train: bool) -> jax.Array:
    if not 0 <= rate <= 1:
        raise ValueError(f"dropout must be a rate from 0 to 1, got {rate}")
    active = train and module.has_rng("dropout")
    return nn.Dropout(rate, deterministic=not active)(x)


def _uniform(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in ±1/√fan_in: how PyTorch starts a layer's weights and its biases."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def _dense(x: jax.Array, features: int, number: int) -> jax.Array:
    if integer("the units of a layer", features) < 1:
        raise ValueError(f"a layer must have at least 1 unit, got {features}")
    start = _uniform(x.shape[-1])
    return Affine(features, start, name=f"Dense_{number}")(x)


def _conv(
    x: jax.Array,
    features: int,
    *,
    size: int,
    padding: str | tuple[tuple[int, int], ...],
    stride: int = 1,
) -> jax.Array:
    start = _uniform(size * size * x.shape[-1])
    how = None  # flax's own
    if size == 3 and padding == "SAME" and jax.default_backend() == "cpu":

        def how(images: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
            return convolve_same(images, kernel)

    return nn.Conv(
        features,
        (size, size),
        strides=(stride, stride),
        padding=padding,
        kernel_init=start,
        bias_init=start,
        conv_general_dilated=how,
    )(x)


def _halve(x: jax.Array) -> jax.Array:
    """Max-pool of 2 × 2, without the last row or column of an odd number."""
    height, width = (side // 2 * 2 for side in x.shape[1:3])
    return max_pool(x[:, :height, :width])


def _flatten(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1)
