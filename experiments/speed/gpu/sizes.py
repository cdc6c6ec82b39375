"""How large each part's work is: on an accelerator, and in a rehearsal on a CPU."""

import dataclasses
from typing import Any

from experiments.distributed_momentum.grid.cells import Cell
from experiments.speed.problems import attacked, random_images
from simbyz.data import Dataset, cache, load


@dataclasses.dataclass(frozen=True)
class Sizes:
    """stacks: (n, d, f) on which rules, attacks and pre-aggregators are compared. compared: their
    names, all if none is given. timed: stacks on which rules are timed. dataset: of dense runs,
    with its f; rules: of the runs, the cheap one of a pair first. steps, timed_steps: of a compared
    run, and of a timed one. widths: of a sweep, the most telling first. side: of square products;
    copied: bytes. conv_f: Byzantine workers of the convolutional network's steps; image: side of
    its images; conv: other settings of its cells.
    """

    stacks: tuple[tuple[int, int, int], ...]
    timed: tuple[tuple[int, int, int], ...]
    dataset: str
    f: int
    rules: tuple[str, ...]
    steps: int
    timed_steps: int
    widths: tuple[int, ...]
    side: int
    copied: int
    conv_f: tuple[int, ...]
    image: int
    conv: dict[str, Any]
    compared: tuple[str, ...] = ()


FULL = Sizes(
    stacks=(
        (25, 10_000, 5),
        (51, 10_000, 12),
        (129, 10_000, 31),
        (25, 1_300_000, 5),
        (51, 1_300_000, 12),
        (129, 1_300_000, 31),
    ),
    timed=((51, 79_510, 24), (25, 1_310_922, 5), (51, 79_510, 12), (25, 1_310_922, 11)),
    dataset="mnist",
    f=24,
    rules=("median", "krum"),
    steps=30,
    timed_steps=300,
    widths=(1, 8, 40, 64, 16, 32, 4, 2),
    side=8192,
    copied=2**32,
    conv_f=(5, 11),
    image=32,
    conv={},
)
SMALL = Sizes(
    stacks=((12, 33, 2),),
    timed=((9, 40, 1),),
    dataset="digits",
    f=11,
    rules=("median", "krum"),
    steps=4,
    timed_steps=4,
    widths=(1, 2),
    side=128,
    copied=2**20,
    conv_f=(1,),
    image=8,
    conv={"n": 5, "batch_size": 2, "steps": 4},
    compared=(  # of each kind; that all fit is seen without compiling them
        *("median", "krum", "bulyan", "geometric_median", "weighted_median"),
        *("nearest_neighbor_mixing", "fltrust"),
        *("attack: a_little_is_enough", "attack: random", "attack: adaptive, krum"),
    ),
)


def images_of(name: str) -> Dataset:
    """The data set, if it is cached, or random images of its shapes."""
    if name == "digits" or (cache.cache_folder() / name / cache.MANIFEST).exists():
        return load(name)
    return random_images(name)


def conv_images(sizes: Sizes) -> Dataset:
    """CIFAR-10's, or random ones that are smaller and fewer."""
    if sizes.image == FULL.image:
        return images_of("cifar10")
    images = random_images("cifar10")
    few, side = 100, sizes.image
    return dataclasses.replace(
        images,
        train_images=images.train_images[:few, :side, :side],
        train_labels=images.train_labels[:few],
        test_images=images.test_images[:few, :side, :side],
        test_labels=images.test_labels[:few],
    )


def cell_of(sizes: Sizes, rule: str, **changes: Any) -> Cell:
    """A dense run under *a little is enough*, with momentum at the workers."""
    return attacked(sizes.dataset, rule, sizes.f, **changes)


def conv_cell(sizes: Sizes, rule: str, f: int, **changes: Any) -> Cell:
    """The like for the convolutional network."""
    return attacked("cifar10", rule, f, **sizes.conv | changes)
