"""Backdoors: examples that Byzantine workers plant among their own, before a run.

A trigger is stamped on images, which are labelled as the target; the model that learns them takes
any image with the trigger for the target. The Byzantine workers compute as they should:

    data, shares = plant_trigger(dataset, shares, pattern(dataset), num_byzantine=3, target=7)
    config = Config(n=10, f=3, byzantine_gradients=True)
    task = classification(data, model, batch_size=25, partition=shares)
    task = with_triggered(task, triggered(dataset, pattern(dataset), target=7))  # of simbyz.tasks
    make_simulator(..., attack=None, columns={"success": backdoor_success_rate(target=7)})

All of it works on the host, on NumPy arrays. The last `num_byzantine` workers of a partition are
the Byzantine ones, as in a run that does not redraw them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from simbyz._arrays.checks import floor_of_product, integer, number, one_number
from simbyz.data.datasets import Dataset, require_dataset
from simbyz.data.partition import Partition
from simbyz.data.partition.schemes import require_partition


class Trigger(NamedTuple):
    """Trigger: a pattern of pixels that is put on an image."""

    mask: np.ndarray  # booleans, of an image's shape: where
    values: np.ndarray  # of an image's shape and dtype: what, there

    def stamp(self, images: np.ndarray) -> np.ndarray:
        """The images (m, ...) with the trigger on each."""
        return np.where(self.mask, self.values, images).astype(images.dtype)

    def split(self, parts: int) -> list["Trigger"]:
        """Parts of the trigger, as equal as can be, that make it up together.

        Raises:
          ValueError: fewer than one part, or more than it has places.
        """
        parts, places = integer("parts", parts), np.flatnonzero(self.mask)
        if not 1 <= parts <= len(places):
            raise ValueError(f"parts must be from 1 to {len(places)}, got {parts}")
        found = []
        for some in np.array_split(places, parts):
            mask = np.zeros(self.mask.size, bool)
            mask[some] = True
            found.append(self._replace(mask=mask.reshape(self.mask.shape)))
        return found


def pattern(dataset: Dataset, *, size: int = 2, value: float | None = None) -> Trigger:
    """A square in the last corner of the images, all channels of it; of a table's row, its last
    features.

    Args:
      dataset: whose images it is for.
      size: of the square; the number of features.
      value: of its pixels, as the images hold them; the largest one of the training images if None.

    Raises:
      ValueError: a size below 1 or above that of the images, or a value that is no pixel's.

    Reference: Gu, Dolan-Gavitt and Garg, BadNets, 2017.
    """
    require_dataset(dataset)
    images, size = np.asarray(dataset.train_images), integer("size", size)
    shape = images.shape[1:]
    sides = shape[:2] if len(shape) == 3 else shape[-1:]
    if not 1 <= size <= min(sides):
        raise ValueError(f"size must be from 1 to {min(sides)}, got {size}")
    mask = np.zeros(shape, bool)
    mask[(slice(-size, None),) * 2 if len(shape) == 3 else (..., slice(-size, None))] = True
    if value is not None:
        one_number("pattern", "value", value)
    put = images.max() if value is None else value
    if images.dtype == np.uint8 and (not 0 <= put <= 255 or put != int(put)):
        raise ValueError(f"value must be of a pixel, a whole number from 0 to 255, got {value}")
    return Trigger(mask, np.full(shape, put, images.dtype))


def plant_trigger(
    dataset: Dataset,
    shares: Partition,
    trigger: Trigger | Sequence[Trigger],
    *,
    num_byzantine: int,
    target: int,
    share: float = 0.5,
) -> tuple[Dataset, Partition]:
    """A trigger on a share of each Byzantine worker's examples, which are labelled as the target.

    Args:
      dataset: whose training images the partition shares.
      shares: among n workers, the last of whom are Byzantine.
      trigger: one for all, or one for each in turn, such as `trigger.split(num_byzantine)`: then
        the distributed backdoor attack, which is tried with the whole.
      num_byzantine: from 1 to n.
      target: the class.
      share: of the worker's examples that are not of the target, the first ones; over 0, up to 1.

    Returns:
      The data set with the stamped images behind its own, and who holds which; each worker as many
      as before.

    Raises:
      TypeError: something is of another kind than asked for.
      ValueError: a number out of range, a trigger of another shape, or nothing to plant.

    Reference: Gu et al., BadNets, 2017; Bagdasaryan et al., How to backdoor federated learning,
      AISTATS 2020; distributed, Xie et al., DBA: distributed backdoor attacks against federated
      learning, ICLR 2020.
    Convention: the authors of DBA mix batches anew in each step and let attackers start late; here
      the examples are fixed.
    """
    require_dataset(dataset)
    triggers: list[Any] = list(trigger) if type(trigger) in (list, tuple) else [trigger]
    _require_triggers(triggers, dataset)

    def stamped(attacker: int, replaced: np.ndarray) -> np.ndarray:
        return triggers[attacker % len(triggers)].stamp(np.asarray(dataset.train_images)[replaced])

    return _plant(dataset, shares, stamped, num_byzantine, target, share)


def plant_edge_cases(
    dataset: Dataset,
    shares: Partition,
    images: np.ndarray,
    *,
    num_byzantine: int,
    target: int,
    share: float = 0.5,
) -> tuple[Dataset, Partition]:
    """Rare examples, labelled as the target, in place of a share of each Byzantine worker's own.

    No worker else holds the like, so that nothing in the honest gradients speaks against them.

    Args:
      images: (m, ...), such as those of `rarest`; every worker takes them in order, as often as it
        has places.

    Returns, raises, other arguments: as `plant_trigger`.

    Reference: Wang et al., Attack of the tails: yes, you really can backdoor federated learning,
      NeurIPS 2020, whose examples come from other data sets.
    """
    images = np.asarray(images)
    if images.shape[1:] != dataset.train_images.shape[1:] or not len(images):
        raise ValueError(
            f"images must be (m, *{dataset.train_images.shape[1:]}), got shape {images.shape}"
        )

    def rare(number: int, replaced: np.ndarray) -> np.ndarray:
        del number
        return images[np.arange(len(replaced)) % len(images)]

    return _plant(dataset, shares, rare, num_byzantine, target, share)


def rarest(images: np.ndarray, labels: np.ndarray, source: int, count: int) -> np.ndarray:
    """The numbers (count,) of the images of a class that are farthest from the class's mean.

    Raises:
      TypeError: a source or a count that is no int.
      ValueError: images and labels that do not go together, a count below 1 or above that of the
        class's images.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if labels.ndim != 1 or images.shape[:1] != labels.shape:
        raise ValueError(
            f"rarest needs images (N, ...) and their labels (N,), got {images.shape} and "
            f"{labels.shape}"
        )
    numbers = np.flatnonzero(labels == integer("source", source))
    if not 1 <= integer("count", count) <= len(numbers):
        raise ValueError(f"count must be from 1 to {len(numbers)}, got {count}")
    rows = images[numbers].reshape(len(numbers), -1).astype(np.float64)
    apart = np.sum((rows - rows.mean(axis=0)) ** 2, axis=1)
    return numbers[np.argsort(-apart, kind="stable")[:count]]


def triggered(dataset: Dataset, trigger: Trigger, *, target: int) -> np.ndarray:
    """The test images that are not of the target, with the trigger on each: what to try it with.

    Raises:
      TypeError: something is of another kind than asked for.
      ValueError: a target that is no class, a trigger of another shape than the images.
    """
    require_dataset(dataset)
    target = _target(dataset, target)
    _require_triggers([trigger], dataset)
    others = np.asarray(dataset.test_labels) != target
    return trigger.stamp(np.asarray(dataset.test_images)[others])


def _require_triggers(triggers: Sequence[Any], dataset: Dataset) -> None:
    for one in triggers:
        if not isinstance(one, Trigger):
            raise TypeError(f"trigger must be a Trigger, such as pattern(dataset), got {one!r}")
    shape = dataset.train_images.shape[1:]
    if not triggers or any(one.mask.shape != shape for one in triggers):
        raise ValueError(f"triggers must be of the images' shape {shape}")


def _target(dataset: Dataset, target: int) -> int:
    target = integer("target", target)
    if not 0 <= target < dataset.num_classes:
        raise ValueError(f"target must be from 0 to {dataset.num_classes - 1}, got {target}")
    return target


def _plant(
    dataset: Dataset,
    shares: Partition,
    images_of: Callable[[int, np.ndarray], np.ndarray],
    num_byzantine: int,
    target: int,
    share: float,
) -> tuple[Dataset, Partition]:
    """With (number of the attacker, examples replaced) -> images in their place."""
    require_partition(shares)
    num_byzantine = integer("num_byzantine", num_byzantine)
    indices, counts = np.array(shares.indices), np.asarray(shares.counts)
    n = len(counts)
    if not 1 <= num_byzantine <= n:
        raise ValueError(f"num_byzantine must be from 1 to {n} workers, got {num_byzantine}")
    target = _target(dataset, target)
    number("share", share, "over 0 and at most 1", lambda one: 0 < one <= 1)
    images, labels = np.asarray(dataset.train_images), np.asarray(dataset.train_labels)
    planted, total = [], len(images)
    for attacker, worker in enumerate(range(n - num_byzantine, n)):
        others = np.flatnonzero(labels[indices[worker, : counts[worker]]] != target)
        places = others[: floor_of_product(share, len(others))]
        planted.append(images_of(attacker, indices[worker, places]))
        indices[worker, places] = total + np.arange(len(places))
        total += len(places)
    # Which stands for none, as the number of the examples before it is now one's own.
    indices[np.arange(indices.shape[1])[None] >= counts[:, None]] = total
    new = np.concatenate(planted)
    if not len(new):
        raise ValueError(f"share={share} of what the Byzantine workers hold is no example")
    changed = dataclasses.replace(
        dataset,
        train_images=np.concatenate([images, new]),
        train_labels=np.concatenate([labels, np.full(len(new), target, labels.dtype)]),
    )
    return changed, shares._replace(indices=indices)
