"""Networks that people compare on: ResNet with group norm, VGG, small transformers.

As in `models`: float inputs go in, LOGITS come out, and `train` is a static bool, which changes
nothing here: no batch statistics, which differ from worker to worker, and no dropout. Sizes are
attributes, so that the tests' networks are small ones of the same kind.
"""

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from simbyz._arrays.checks import at_least
from simbyz.tasks.layers import require_images

# Channels that group norm takes together, as well as any number in its paper (Wu and He, 2018).
GROUP = 16


class ResNet(nn.Module):
    """Residual network with group norm: ResNet-18 (d = 11,173,962) and ResNet-20 (d = 272,474).

    A 3x3 convolution; stages of blocks, each stage but the first halving the image; mean over the
    image, dense. A block is twice 3x3 convolution and group norm, ReLU in between, plus its own
    input, through a 1x1 convolution and group norm where their shapes differ; ReLU.

    Attributes:
      depth: 18: four stages of two blocks, 64 to 512 channels; 20: three of three, 16 to 64.
      width: channels of the first stage; as published if None.

    Raises:
      ValueError: another depth.

    Reference: He et al., Deep residual learning for image recognition, CVPR 2016, in its form for
      CIFAR; Hsieh et al., The non-IID data quagmire of decentralized machine learning, ICML 2020,
      for group norm in place of batch norm.
    Convention: ResNet-20 is published with shortcuts without parameters; here they are convolutions
      in both. Groups are of 16 channels, fewer where there are fewer.
    """

    depth: Literal[18, 20] = 18
    num_classes: int = 10
    width: int | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        del train
        require_images(images)
        if self.depth not in (18, 20):
            raise ValueError(f"depth must be 18 or 20, got {self.depth}")
        stages, blocks, width = (4, 2, 64) if self.depth == 18 else (3, 3, 16)
        width = width if self.width is None else at_least("width", self.width, 1)
        x = nn.relu(_group_norm(_plain_conv(images, width, 3)))
        for stage in range(stages):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = _residual(x, width * 2**stage, stride)
        return nn.Dense(self.num_classes)(jnp.mean(x, axis=(1, 2)))


class VGG(nn.Module):
    """VGG-11 for small images: 3x3 convolutions with ReLU, max-pools, one dense layer; d =
    9,225,610.

    Attributes:
      plan: channels of each convolution, and "pool", which halves the image while it can be.

    Reference: Simonyan and Zisserman, Very deep convolutional networks for large-scale image
      recognition, ICLR 2015.
    Convention: one dense layer in place of three, as usual for CIFAR; without norm or dropout.
    """

    num_classes: int = 10
    plan: Sequence[int | Literal["pool"]] = (
        *(64, "pool", 128, "pool", 256, 256, "pool"),
        *(512, 512, "pool", 512, 512, "pool"),
    )

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        del train
        require_images(images)
        x = images
        for one in self.plan:
            if one != "pool":
                channels = at_least("a number of channels", one, 1)
                x = nn.relu(nn.Conv(channels, (3, 3), kernel_init=nn.initializers.he_normal())(x))
            elif min(x.shape[1:3]) > 1:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))


class ViT(nn.Module):
    """Small vision transformer: patches, learned places, transformer blocks, mean, dense.

    d = 810,890 on images of 32x32x3.

    Attributes:
      patch: side of a patch; it divides the image's.
      width, depth, heads: of the blocks; heads divide the width.

    Raises:
      ValueError: a patch that does not divide the image.

    Reference: Dosovitskiy et al., An image is worth 16x16 words, ICLR 2021.
    Convention: the mean of all patches is classified, without a token of its own.
    """

    num_classes: int = 10
    patch: int = 4
    width: int = 128
    depth: int = 6
    heads: int = 4

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        del train
        require_images(images)
        patch = at_least("patch", self.patch, 1)
        if any(side % patch for side in images.shape[1:3]):
            raise ValueError(
                f"patch must divide the image's sides {images.shape[1:3]}, got {self.patch}"
            )
        x = nn.Conv(
            at_least("width", self.width, 1),
            (patch, patch),
            strides=(patch, patch),
            padding="VALID",
        )(images)
        x = _Blocks(self.depth, self.heads)(x.reshape(len(x), -1, self.width))
        return nn.Dense(self.num_classes)(jnp.mean(x, axis=1))


class CharTransformer(nn.Module):
    """Character-level transformer: the codes of some characters go in, the logits of the next out.

    Attributes:
      num_classes: characters there are; codes are from 0 to num_classes - 1.
      width, depth, heads: as of `ViT`.

    Reference: Vaswani et al., Attention is all you need, NeurIPS 2017.
    Convention: it reads its inputs (B, length) as a whole, all earlier than what it tells, and the
      place of the last is classified; codes may come as floats.
    """

    num_classes: int = 128
    width: int = 64
    depth: int = 2
    heads: int = 4

    @nn.compact
    def __call__(self, codes: jax.Array, train: bool = False) -> jax.Array:
        del train
        x = nn.Embed(self.num_classes, at_least("width", self.width, 1))(codes.astype(jnp.int32))
        x = _Blocks(self.depth, self.heads)(x)
        return nn.Dense(self.num_classes)(x[:, -1])


class _Blocks(nn.Module):
    """Learned places and transformer blocks with norms first, of tokens (B, length, width)."""

    depth: int
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, heads = x.shape[-1], at_least("heads", self.heads, 1)
        if width % heads:
            raise ValueError(f"heads must divide width={width}, got {heads}")
        x = x + self.param("places", nn.initializers.normal(0.02), x.shape[1:])[None]
        for _ in range(at_least("depth", self.depth, 0)):
            x = x + nn.MultiHeadDotProductAttention(num_heads=heads)(nn.LayerNorm()(x))
            inner = nn.gelu(nn.Dense(2 * width)(nn.LayerNorm()(x)))
            x = x + nn.Dense(width)(inner)
        return nn.LayerNorm()(x)


def _residual(x: jax.Array, channels: int, stride: int) -> jax.Array:
    inner = nn.relu(_group_norm(_plain_conv(x, channels, 3, stride)))
    inner = _group_norm(_plain_conv(inner, channels, 3))
    if x.shape != inner.shape:
        x = _group_norm(_plain_conv(x, channels, 1, stride))
    return nn.relu(x + inner)


def _plain_conv(x: jax.Array, channels: int, size: int, stride: int = 1) -> jax.Array:
    sides, around = (size, size), ((size // 2, size // 2),) * 2
    start = nn.initializers.he_normal()
    return nn.Conv(
        channels, sides, strides=(stride, stride), padding=around, use_bias=False, kernel_init=start
    )(x)


def _group_norm(x: jax.Array) -> jax.Array:
    return nn.GroupNorm(num_groups=None, group_size=min(GROUP, x.shape[-1]))(x)
