"""ByzFL's networks and data sets, by the names that its file gives them."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax

from simbyz.tasks.layers import Affine
from simbyz.tasks.models import Dense, SmallConv


class Data(NamedTuple):
    name: str  # that `simbyz.data.load` knows it by
    size: int  # pixels along an edge
    channels: int
    mirrored: bool = False  # at random, in training and when it is evaluated, by what ByzFL does
    note: str = ""


class Network(NamedTuple):
    module: Callable[[], nn.Module]
    size: int | None  # pixels along an edge that ByzFL's needs; any if None
    channels: int
    losses: tuple[str, ...]  # those that are the cross-entropy of its logits
    ends_in: str


class SigmoidLinear(nn.Module):
    """ByzFL's logreg_mnist: the sigmoid of an affine map, as logits."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        del train
        x = images.reshape(len(images), -1)
        return jax.nn.sigmoid(Affine(10, uniform(x.shape[-1]), name="Dense_0")(x))


class CifarConv(nn.Module):
    """ByzFL's cnn_cifar: three 5x5 convolutions, each with a max-pool, and three dense layers."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        del train
        x = images
        for features in (20, 100, 200):
            start = uniform(25 * x.shape[-1])
            x = nn.Conv(features, (5, 5), padding="SAME", kernel_init=start, bias_init=start)(x)
            x = nn.max_pool(nn.relu(x), (2, 2), strides=(2, 2))
        x = x.reshape(len(x), -1)
        for number, features in enumerate((512, 256, 10)):
            x = Affine(features, uniform(x.shape[-1]), name=f"Dense_{number}")(
                nn.relu(x) if number else x
            )
        return x


def uniform(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in ±1/√fan_in: how PyTorch starts weights and biases."""
    bound = fan_in**-0.5
    return lambda key, shape, dtype="float32": jax.random.uniform(key, shape, dtype, -bound, bound)


DATASETS = {
    "mnist": Data("mnist", 28, 1),
    "fashionmnist": Data("fashion_mnist", 28, 1, mirrored=True),
    # ByzFL sets the training images' transformation, then the validation images' on the same data
    # set: what acts is the second, which neither crops nor mirrors.
    "cifar10": Data("cifar10", 32, 3, note="cifar10 is neither cropped nor mirrored, as in ByzFL"),
    "digits": Data("digits", 8, 1),
}
BOTH = ("NLLLoss", "CrossEntropyLoss")
NETWORKS = {
    "fc_mnist": Network(Dense, None, 1, BOTH, "a log-softmax"),
    "cnn_mnist": Network(SmallConv, 28, 1, BOTH, "a log-softmax"),
    "logreg_mnist": Network(SigmoidLinear, None, 1, ("CrossEntropyLoss",), "a sigmoid"),
    "cnn_cifar": Network(CifarConv, 32, 3, ("CrossEntropyLoss",), "an affine map"),
}


def fitting(network: str, dataset: str) -> tuple[str, str]:
    """The network for a data set, and a note where another takes its place.

    Raises:
      ValueError: it takes images of another shape.
    """
    needs, data = NETWORKS[network], DATASETS[dataset]
    if needs.channels == data.channels and needs.size in (None, data.size):
        return network, ""
    if dataset == "digits":
        return "fc_mnist", f"digits have 8 × 8 pixels: fc_mnist takes the place of {network}"
    raise ValueError(
        f"model.name: {network} takes images of {needs.size or 28} × {needs.size or 28} × "
        f"{needs.channels}, {dataset} has {data.size} × {data.size} × {data.channels}"
    )
