"""Footprint of a run on a device: its network, its memory, and so how many are run at once."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.distributed_momentum.grid.cells import Cell
from experiments.shared.option_checks import check_memory
from simbyz.data.datasets import PREPROCESSING
from simbyz.tasks import models
from simbyz.tasks.task import test_images_at_once

# height, width, channels; training and test images
IMAGES = {
    "digits": ((8, 8, 1), 1797),
    "mnist": ((28, 28, 1), 70_000),
    "fashion_mnist": ((28, 28, 1), 70_000),
    "cifar10": ((32, 32, 3), 60_000),
    "cifar100": ((32, 32, 3), 60_000),
}
# Lanes at most: all runs that a program of the paper's grid makes without Nesterov. A dense network
# leaves most of a GPU idle, so more lanes cost little; a convolutional one fills it with one.
MOST = {"dense": 40, "conv": 5}
# Of a device's memory: the estimate is a lower bound, and XLA needs some of its own.
SHARE = 0.6


def lanes_per_device(cell: Cell, platform: str, memory: int | None = None) -> int:
    """The `vmap` width of a cell's program, whatever runs are asked for: rounding depends on it.

    One on a CPU, where a wider batch leaves the cache and compiles longer. Elsewhere as many as
    fit, up to what is worth it.

    Args:
      cell: any of the program's.
      platform: JAX's name of it.
      memory: bytes of a device; unknown if None, and then 16 GB are assumed.
    """
    if platform == "cpu":
        return 1
    convolutional = cell.depth > 0 or IMAGES[cell.dataset][0][-1] == 3
    one, two = (memory_of(cell, width, platform) for width in (1, 2))
    room = SHARE * (16e9 if memory is None else memory) - (2 * one - two)
    return max(1, min(MOST["conv" if convolutional else "dense"], int(room // (two - one))))


def width_of(cell: Cell) -> int:
    """`lanes_per_device` on the first device."""
    return lanes_per_device(cell, jax.default_backend(), device_memory())


def device_memory() -> int | None:
    """Bytes that programs may use of the first device, where JAX knows."""
    stats = jax.local_devices()[0].memory_stats()
    return None if stats is None else stats.get("bytes_limit")


def refuse_large(cell: Cell) -> None:
    """Raises ValueError if one run of a cell has no room, by arithmetic: tracing alone would take
    minutes.
    """
    least, memory = memory_of(cell, 1, jax.default_backend()), device_memory()
    check_memory(least, f"a run with n = {cell.n}, d = {dimension(cell):,}", memory)


def network_of(depth: int, width: int, channels: int, num_classes: int) -> nn.Module:
    if depth:
        return models.WideResNet(depth, width, num_classes=num_classes)
    if channels == 3:
        return models.Conv(num_classes=num_classes)
    return models.Dense(num_classes=num_classes)


def memory_of(cell: Cell, width: int, platform: str) -> float:
    """Bytes on a device, at least: `width` runs at once, and the data set.

    A run keeps the n sent vectors, the gradients of the h honest workers, their momenta before and
    after a step, the curvature's window and some ten single vectors; besides, what the network
    keeps of the images in work.
    """
    honest, d = cell.n - cell.f, dimension(cell)
    shape, images = IMAGES[cell.dataset]
    vectors = cell.n + 3 * honest + cell.curvature_window + 10
    one_by_one = platform == "cpu" and cell.dataset.startswith("cifar")
    in_work = cell.batch_size * (1 if one_by_one else honest)
    kept, largest = _activations(cell)
    floats = vectors * d + kept * in_work + 3 * largest * test_images_at_once(platform)
    return 4 * width * floats + images * math.prod(shape)


def dimension(cell: Cell) -> int:
    return _dimension(cell.dataset, cell.depth, cell.width)


@functools.cache  # traced once for all cells that learn the same network
def _dimension(dataset: str, depth: int, width: int) -> int:
    shape, _ = IMAGES[dataset]
    module = network_of(depth, width, shape[-1], PREPROCESSING[dataset]["num_classes"])
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def _activations(cell: Cell) -> tuple[int, int]:
    """Floats that a gradient keeps of an image, and the largest layer's, counted by hand."""
    if cell.depth:
        blocks, width = (cell.depth - 4) // 6, cell.width
        layers = [(16 * width * 1024), (32 * width * 256), (64 * width * 64)]
        return sum(6 * blocks * size for size in layers), layers[0]
    if cell.dataset.startswith("cifar"):
        return 6 * 64 * 1024 + 6 * 128 * 256, 64 * 1024
    return 1100, 784
