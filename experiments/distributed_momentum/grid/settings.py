"""Settings of each data set, in the paper and at small scale."""

import dataclasses
from typing import Literal

from experiments.distributed_momentum.grid.rules import PAPER_RULES

DatasetName = Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"]
# What the networks compute in. default: float32, with products in TF32 on a recent GPU;
# float32: those too; bfloat16: images, parameters and activations. Parameters are kept, gradients
# summed, and all that is done with them computed, in float32.
Precision = Literal["default", "float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Setting:
    """Settings of a data set. The l2 factor is the one that acts: the paper gives its
    root.

    learning_rates: (rate, refresh) pairs; a rate is divided by 1 + step / 167, taken anew every
    `refresh` steps. refresh None: constant.
    """

    n: int
    f: tuple[int, ...]
    batch_size: int
    steps: int
    learning_rates: tuple[tuple[float, int | None], ...]
    momentum: float
    l2: float
    clip: float
    evaluate_every: int
    curvature_window: int
    decay: int = 167
    rules_once: bool = False  # each rule at the first f that it bears, not at every one
    rules: tuple[str, ...] = PAPER_RULES
    drops: tuple[tuple[int, float], ...] = ()  # (step, factor of the learning rate from there on)
    depth: int = 0  # of a Wide-ResNet; 0: the data set's own network
    width: int = 0
    precision: Precision = "default"
    certify: bool = False  # with the columns of simbyz.theory.robustness


_MNIST = Setting(
    n=51,
    f=(24, 12),
    batch_size=83,
    steps=300,
    learning_rates=((0.5, None), (0.02, None)),
    momentum=0.9,
    l2=1e-8,
    clip=2.0,
    evaluate_every=5,
    curvature_window=150,
)
_CIFAR = Setting(
    n=25,
    f=(11, 5),
    batch_size=50,
    steps=3000,
    # The paper's 0.001 is refreshed every 3000 of 3000 steps, hence constant.
    learning_rates=((0.01, 1500), (0.001, None)),
    momentum=0.99,
    l2=1e-4,
    clip=5.0,
    evaluate_every=100,
    curvature_window=25,
)
PAPER: dict[str, Setting] = {
    "mnist": _MNIST,
    "fashion_mnist": _MNIST,
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
}
# The same comparison at small scale: not the paper's, and quick.
SMALL = Setting(
    n=25,
    f=(11, 5),
    batch_size=20,
    steps=300,
    learning_rates=((0.5, None),),
    momentum=0.9,
    l2=1e-8,
    clip=2.0,
    evaluate_every=5,
    curvature_window=150,
    rules_once=True,
)
SETTINGS: dict[str, Setting] = {"digits": SMALL, **PAPER}
# The paper's appendix: Wide-ResNet 28-10 on CIFAR-10, always with Nesterov. The program gives an
# l2 factor of 5e-4, which acts squared like the others.
APPENDIX = Setting(
    n=11,
    f=(4, 2),
    batch_size=20,
    steps=20_000,
    learning_rates=((0.02, None),),
    momentum=0.99,
    l2=2.5e-7,
    clip=5.0,
    evaluate_every=100,
    curvature_window=1,
    rules=("krum", "median", "bulyan"),
    drops=((8000, 0.2), (16_000, 0.04)),
    depth=28,
    width=10,
)
