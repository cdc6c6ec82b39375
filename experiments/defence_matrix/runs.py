"""One run of the matrix: all that defines it, and its place on disk."""

import contextlib
import dataclasses
import math
from collections.abc import Iterable

import jax
import numpy as np

from experiments.shared.options.checks import as_name
from experiments.shared.runs import file_of
from simbyz.data import partition
from simbyz.data.partition import Partition


@dataclasses.dataclass(frozen=True)
class Run:
    dataset: str
    honest: int
    steps: int
    batch_size: int
    hidden: int
    validation: float
    evaluations: int
    partition_seed: int
    rule: str
    pre: str
    f: int
    heterogeneity: str
    attack: str
    learning_rate: float
    momentum: float
    weight_decay: float
    seed: int
    certify: bool = False
    root_examples: int = 0  # that the server holds; 0 for a rule that asks for none

    @property
    def name(self) -> str:
        parts = [
            self.dataset,
            self.rule,
            self.pre,
            f"f_{self.f}",
            self.heterogeneity.replace(":", "_"),
            self.attack,
            f"lr_{as_name(self.learning_rate)}",
            f"momentum_{as_name(self.momentum)}",
        ]
        parts += [f"root_{self.root_examples}"] if self.root_examples else []
        return "-".join([*parts, "certify"] if self.certify else parts)

    @property
    def configuration(self) -> dict:
        values = dataclasses.asdict(self)
        for name in ("certify", "root_examples"):  # as of runs from before there were these
            if not values[name]:
                del values[name]
        return values

    file = property(file_of)


def parse_heterogeneity(text: str) -> tuple[str, float]:
    """ "gamma:0.5" to ("gamma", 0.5); iid and extreme take no number, and get NaN.

    Raises:
      ValueError: none of the schemes, or a number that is not.
    """
    if text in ("iid", "extreme"):
        return text, math.nan
    scheme, _, number = text.partition(":")
    if scheme in ("gamma", "dirichlet"):
        with contextlib.suppress(ValueError):
            if math.isfinite(value := float(number)):
                return scheme, value
    raise ValueError(
        "heterogeneity must be iid, extreme, gamma:SIMILARITY or dirichlet:ALPHA, such as "
        f"gamma:0.5, got {text!r}"
    )


def share(text: str, labels: np.ndarray, n: int, seed: int) -> Partition:
    """The training examples among n workers, by a heterogeneity such as "gamma:0.5".

    Raises:
      ValueError: by `parse_heterogeneity`, or by the partition.
    """
    scheme, number = parse_heterogeneity(text)
    key = jax.random.key(seed)
    if scheme == "gamma":
        return partition.gamma_similarity(key, labels, n, gamma=number)
    if scheme == "dirichlet":
        return partition.dirichlet(key, labels, n, alpha=number)
    return {"iid": partition.iid, "extreme": partition.extreme}[scheme](key, labels, n)


def shares_of(levels: Iterable[str], labels: np.ndarray, n: int, seed: int) -> dict[str, Partition]:
    """The `share` of each heterogeneity, `widened`."""
    return widened({text: share(text, labels, n, seed) for text in levels}, len(labels))


def widened(shares: dict[str, Partition], num_examples: int) -> dict[str, Partition]:
    """The same partitions with rows of one length, so that all go through one program."""
    length = max(np.shape(one.indices)[1] for one in shares.values())

    def wide(one: Partition) -> Partition:
        missing = length - np.shape(one.indices)[1]
        rows = np.pad(one.indices, ((0, 0), (0, missing)), constant_values=num_examples)
        return one._replace(indices=rows)

    return {name: wide(one) for name, one in shares.items()}
