"""Checks of how the training images are shared, before the first step."""

from collections.abc import Sequence

from experiments.defence_matrix.runs import parse_heterogeneity, share
from experiments.shared.options.checks import check_hidden
from simbyz.data import Dataset


def check_levels(levels: Sequence[str]) -> None:
    """Raises ValueError if a heterogeneity is none, or two are the same."""
    if len({parse_heterogeneity(level) for level in levels}) < len(levels):
        raise ValueError(f"heterogeneity must differ, got {' '.join(levels)}")


def check_training(
    training: Dataset,
    levels: Sequence[str],
    workers: int,
    batch_size: int,
    partition_seed: int,
    hidden: int,
) -> None:
    """Whether the images without the validation part can be shared, and fill a batch, and the
    network has room.

    Raises:
      ValueError: by the size of a batch or of the network, or by the partition that refuses.
    """
    check_hidden(hidden, workers, training.train_images.shape[1:])
    size = len(training.train_labels)
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch_size must be from 1 to {size}, the training images of {training.name} without "
            f"validation, got {batch_size}"
        )
    for level in levels:
        share(level, training.train_labels, workers, partition_seed)
