"""Part of a data set, chosen so that its classes are of unequal size, shared among workers.

Both take a key, which decides the examples that stay and how they are shared, labels (N,), n
workers, the `ratio` ρ of the sizes of a large class and a small one, and

    share   how the examples kept are shared: a partition with its options bound

Each example is in at most one row; as many are kept as the profile allows, of each class at least
one. TypeError: as of any partition. ValueError: a ratio below 1 or not finite, fewer examples kept
than workers, or by `share`.
"""

import math
from collections.abc import Callable

import jax
import numpy as np

from simbyz._arrays.calling import require_known
from simbyz._arrays.checks import floor_of_product, number, require_callable
from simbyz.data.partition.schemes import Partition, iid, require_partition, start

Share = Callable[[jax.Array, np.ndarray, int], Partition]


def long_tail(
    key: jax.Array, labels: np.ndarray, n: int, *, ratio: float, share: Share = iid
) -> Partition:
    """Classes thinned out to sizes that fall geometrically, ∝ ρ^(-c / (C - 1)), then shared.

    The smallest label is class c = 0, the largest one C - 1.

    Reference: Cui et al., Class-balanced loss, CVPR 2019.
    """
    rng, labels, n = start(key, labels, n)
    _require_ratio(ratio)
    classes = len(np.unique(labels))
    profile = float(ratio) ** (-np.arange(classes) / max(classes - 1, 1))
    return _thin(rng, key, labels, n, profile, share)


def class_imbalance(
    key: jax.Array,
    labels: np.ndarray,
    n: int,
    *,
    ratio: float,
    minority: float = 0.5,
    share: Share = iid,
) -> Partition:
    """The last ⌊μC⌋ of C classes thinned out to 1/ρ of the size of the others, then shared.

    Args:
      minority: μ, the share of the small classes, which are the last by their labels.

    Raises:
      ValueError: minority outside [0, 1).

    Reference: Buda et al., A systematic study of the class imbalance problem, 2018 (step
      imbalance).
    """
    rng, labels, n = start(key, labels, n)
    _require_ratio(ratio)
    number("minority", minority, "at least 0 and below 1", lambda one: 0 <= one < 1)
    classes = len(np.unique(labels))
    small = np.arange(classes) >= classes - floor_of_product(minority, classes)
    return _thin(rng, key, labels, n, np.where(small, 1 / ratio, 1.0), share)


def _thin(
    rng: np.random.Generator,
    key: jax.Array,
    labels: np.ndarray,
    n: int,
    profile: np.ndarray,
    share: Share,
) -> Partition:
    """Classes of sizes in proportion to the profile, as large as they allow, shared by `share`."""
    require_callable("share", share, "simbyz.data.partition.iid")
    require_known("share", share, ())
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    scale = min(len(some) / part for some, part in zip(members, profile, strict=True))
    # The class that sets the scale keeps all it has, whatever the rounding.
    sizes = np.maximum(1, floor_of_product(scale, profile))
    kept = np.concatenate([some[:size] for some, size in zip(members, sizes, strict=True)])
    partition = share(jax.random.fold_in(key, 1), labels[kept], n)
    require_partition(partition)
    return Partition(np.append(kept, len(labels)).astype(np.int32)[partition.indices], partition[1])


def _require_ratio(ratio: float) -> None:
    number("ratio", ratio, "at least 1 and finite", lambda one: 1 <= one < math.inf)
