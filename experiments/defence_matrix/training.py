"""Checks of how the training images are shared, before the first step."""

from collections.abc import Sequence
from typing import Any

from experiments.defence_matrix.runs import parse_heterogeneity, share
from experiments.shared.options.checks import check_batch_size, check_hidden
from simbyz.data import Dataset


def check_levels(levels: Sequence[str]) -> None:
    """Raises ValueError if a heterogeneity is none, or two are the same."""
    if len({parse_heterogeneity(level) for level in levels}) < len(levels):
        raise ValueError(f"heterogeneity must differ, got {' '.join(levels)}")


def check_training(training: Dataset, levels: Sequence[str], workers: int, options: Any) -> None:
    """Whether the images without the validation part can be shared, and fill a batch, and the
    network has room.

    Args:
      options: with batch_size, partition_seed and hidden.

    Raises:
      ValueError: by the size of a batch or of the network, or by the partition that refuses.
    """
    check_hidden(options.hidden, workers, training.train_images.shape[1:])
    labels = training.train_labels
    check_batch_size(options.batch_size, len(labels), f"{training.name} without validation")
    for level in levels:
        share(level, labels, workers, options.partition_seed)
