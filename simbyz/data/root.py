"""Root set: the few examples that the server holds itself, for rules that judge updates by them."""

import dataclasses

import jax
import numpy as np
from jax.typing import ArrayLike

from simbyz._arrays.checks import integer
from simbyz.data.datasets import Dataset, require_dataset
from simbyz.data.host_random import generator

Examples = tuple[np.ndarray, np.ndarray]  # images and labels


def draw(key: jax.Array, labels: ArrayLike, size: int) -> np.ndarray:
    """The numbers (size,) of training examples, drawn alike and without replacement, in increasing
    order.

        classification(digits, module, batch_size=25, root=draw(key, digits.train_labels, 100))

    Args:
      key: decides them.
      labels: (N,) of the training set.
      size: from 1 to N.

    Raises:
      TypeError: the key or the size is none.
      ValueError: labels that are not (N,), a size out of its range.
    """
    if np.ndim(labels) != 1:
        raise ValueError(f"labels must be those of the training set (N,), got {np.shape(labels)}")
    count, size = len(np.asarray(labels)), integer("size", size)
    if not 1 <= size <= count:
        raise ValueError(f"a root set has from 1 to {count} examples, all there are, got {size}")
    return np.sort(generator(key, "a root set").choice(count, size, replace=False))


def hold_out(dataset: Dataset, numbers: ArrayLike) -> tuple[Dataset, Dataset]:
    """The data set without these training examples, for the workers, and one of them alone, for the
    server: `classification(rest, ..., root=root)`.

    Raises:
      TypeError: the numbers are no ints.
      ValueError: none of them, one that names no example or comes twice, or nothing left.
    """
    require_dataset(dataset)
    numbers = _numbers(dataset, numbers)
    left = np.ones(len(dataset.train_labels), bool)
    left[numbers] = False
    if not left.any():
        raise ValueError(f"all {len(left)} training examples are held out: the workers have none")

    def part(chosen: np.ndarray) -> Dataset:
        return dataclasses.replace(
            dataset,
            train_images=np.asarray(dataset.train_images)[chosen],
            train_labels=np.asarray(dataset.train_labels)[chosen],
        )

    return part(left), part(numbers)


def root_examples(dataset: Dataset, root: Dataset | ArrayLike) -> Examples:
    """Images and labels of a root set, given as numbers of training examples or as a data set.

    Raises:
      TypeError, ValueError: as `hold_out`; a data set of other inputs or classes.
    """
    if not isinstance(root, Dataset):
        numbers = _numbers(dataset, root)
        return np.asarray(dataset.train_images)[numbers], np.asarray(dataset.train_labels)[numbers]
    ours = dataset.train_images.shape[1:], dataset.train_images.dtype, dataset.num_classes
    theirs = root.train_images.shape[1:], root.train_images.dtype, root.num_classes
    if ours != theirs:
        raise ValueError(
            f"a root set must be of {dataset.name}'s inputs {ours[1]} {ours[0]} in {ours[2]} "
            f"classes, got {theirs[1]} {theirs[0]} in {theirs[2]}"
        )
    return np.asarray(root.train_images), np.asarray(root.train_labels)


def _numbers(dataset: Dataset, numbers: ArrayLike) -> np.ndarray:
    given, count = np.asarray(numbers), len(dataset.train_labels)
    if given.ndim != 1 or not given.size:
        raise ValueError(
            f"a root set is one list of at least 1 training example, got shape {given.shape}"
        )
    if given.dtype.kind not in "iu":
        raise TypeError(
            "a root set is a Dataset, or the numbers of training examples (ints), got "
            f"{given.dtype}"
        )
    if given.min() < 0 or given.max() >= count:
        raise ValueError(
            f"a root set names examples from 0 to {count - 1}, all that {dataset.name} has, got "
            f"{given.min() if given.min() < 0 else given.max()}"
        )
    if len(np.unique(given)) < len(given):
        raise ValueError("a root set names each example once, got one of them twice")
    return given
