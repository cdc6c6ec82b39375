"""All of a data set, shared among workers.

A partition is made once, before anything is compiled: its shape depends on the values of the
labels. It is computed in NumPy from the key alone, so that it is the same on every device.

Every scheme but `by_owner` takes

    key     what decides all that is random
    labels  (N,) ints
    n       workers

and gives each example to exactly one worker. TypeError: key or labels are traced, or of the wrong
type. ValueError: n < 1, or fewer examples than workers.
"""

import bisect
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from simbyz._arrays.checks import floor_of_product, integer, number
from simbyz.data.host_random import generator


class Partition(NamedTuple):
    """Whose is which example: row i of `indices` starts with the counts[i] examples of worker i.

    The rest of a row is filled with the number of examples in the data set, which stands for none.
    """

    indices: np.ndarray | jax.Array  # (n, largest) int32
    counts: np.ndarray | jax.Array  # (n,) int32, each at least 1


def require_partition(partition: Any) -> None:
    """Raises TypeError where a `Partition` is asked for, and something else is given."""
    if not isinstance(partition, Partition):
        raise TypeError(
            "partition must be a Partition, such as simbyz.data.partition.iid gives, "
            f"got {type(partition).__name__}"
        )


def iid(key: jax.Array, labels: np.ndarray, n: int) -> Partition:
    """Every example to one worker at random, whatever its label; sizes differ by at most one."""
    rng, labels, n = start(key, labels, n)
    return pack(np.array_split(rng.permutation(len(labels)), n), len(labels))


def by_owner(owners: np.ndarray) -> Partition:
    """The natural partition: each worker holds what is its own.

    Args:
      owners: (N,) ints, the worker of each example, from 0 to n - 1, none of them left out.

    Raises:
      TypeError: owners are no array of ints.
      ValueError: a worker without an example, or a number below 0.
    """
    owners = np.asarray(owners)
    if owners.ndim != 1 or owners.dtype.kind not in "iu" or not len(owners):
        raise TypeError(f"owners must be ints (N,), got {owners.dtype} of shape {owners.shape}")
    # Numbers of users as a file has them may be far beyond what can be counted.
    among = owners.min() >= 0 and owners.max() < len(owners)
    if not among or not (counts := np.bincount(owners)).all():
        raise ValueError(
            "owners must be from 0 to n - 1, each with an example: give other numbers as "
            "np.unique(owners, return_inverse=True)[1]"
        )
    order = np.argsort(owners, kind="stable")
    return pack(np.split(order, np.cumsum(counts)[:-1]), len(owners))


def extreme(key: jax.Array, labels: np.ndarray, n: int) -> Partition:
    """Sorted by label, then cut into n runs whose sizes differ by at most one.

    The key decides the order within a label, and not how many of which class a worker gets.
    """
    rng, labels, n = start(key, labels, n)
    order = sort(rng.permutation(len(labels)), labels)
    return pack(np.array_split(order, n), len(labels))


def gamma_similarity(key: jax.Array, labels: np.ndarray, n: int, *, gamma: float) -> Partition:
    """⌊γN⌋ examples drawn at random are shared as in `iid`, the rest as in `extreme`.

    Args:
      gamma: similarity, from 0 (extreme) to 1 (iid).

    Returns:
      Rows in which the examples shared at random come first. Sizes differ by at most one.

    Raises:
      ValueError: gamma outside [0, 1].

    Reference: Karimireddy et al., SCAFFOLD, ICML 2020 (s % similarity).
    Convention: ByzFL shares the first ⌊γN⌋ examples at random, whatever their order (its benchmark
      gives them in a random one), and its first workers may get two examples more than its last.
    """
    rng, labels, n = start(key, labels, n)
    number("gamma", gamma, "from 0 to 1", lambda one: 0 <= one <= 1)
    order, shared = rng.permutation(len(labels)), floor_of_product(gamma, len(labels))
    random = np.array_split(order[:shared], n)
    sizes = [len(part) for part in np.array_split(order, n)]
    ends = np.cumsum([size - len(part) for size, part in zip(sizes, random, strict=True)])
    by_label = np.split(sort(order[shared:], labels), ends[:-1])
    parts = [np.concatenate(pair) for pair in zip(random, by_label, strict=True)]
    return pack(parts, len(labels))


def dirichlet(
    key: jax.Array, labels: np.ndarray, n: int, *, alpha: float, minimum: int = 1
) -> Partition:
    """Each class is cut among the workers in proportions drawn from Dirichlet(α, ..., α).

    p_c ~ Dirichlet(α 1_n); worker i gets the examples ⌊N_c Σ_{j<i} p_cj⌋ to ⌊N_c Σ_{j≤i} p_cj⌋ of
    class c. Then, as long as a worker has fewer than `minimum`, the smallest gets a random example
    of the largest: no draw is thrown away, and one that gives everybody enough is left as it is.

    Args:
      alpha: concentration: near 0 a class is one worker's, towards infinity all get equal shares.
      minimum: the least number of examples of a worker, at least 1.

    Raises:
      ValueError: alpha not positive and finite; minimum below 1 or above N / n.

    Reference: Yurochkin et al., Bayesian nonparametric federated learning, ICML 2019.
    Convention: ByzFL draws likewise, and fails where a worker is left empty; Flower, FedML and
      NIID-Bench draw anew until each has 10, and bar workers that have N / n already (in Flower
      only if asked); Hsu et al., 2019, draw the classes of each worker instead, for equal sizes.
    """
    rng, labels, n = start(key, labels, n)
    minimum = integer("minimum", minimum)
    number("alpha", alpha, "positive and finite", lambda one: 0 < one < math.inf)
    if not 1 <= minimum <= len(labels) // n:
        raise ValueError(
            f"minimum must be from 1 to {len(labels) // n}, the share of each of n={n} workers in "
            f"{len(labels)} examples, got {minimum}"
        )
    owner = np.empty(len(labels), np.int64)
    # Beyond these the draw would overflow, or no longer be even; long before, shares are equal to
    # the last digit, or a class is one worker's.
    concentrations = np.full(n, min(max(float(alpha), 1e-300), 1e100))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        ends = (np.cumsum(rng.dirichlet(concentrations))[:-1] * len(members)).astype(int)
        for worker, part in enumerate(np.split(members, ends)):
            owner[part] = worker
    counts = np.bincount(owner, minlength=n)
    held = [part.tolist() for part in np.split(np.argsort(owner, kind="stable"), counts.cumsum())]
    while counts.min() < minimum:
        poorest, richest = counts.argmin(), counts.argmax()
        bisect.insort(held[poorest], held[richest].pop(rng.integers(counts[richest])))
        counts[poorest] += 1
        counts[richest] -= 1
    return pack([np.array(part) for part in held[:n]], len(labels))


def label_shards(key: jax.Array, labels: np.ndarray, n: int, *, k: int = 2) -> Partition:
    """Sorted by label, cut into n·k shards of one size, of which each worker gets k at random.

    Args:
      k: shards a worker; their sizes differ by at most one example.

    Raises:
      ValueError: k below 1 or above N / n.

    Reference: McMahan et al., Communication-efficient learning, AISTATS 2017 (k = 2).
    Convention: with shards of a size that n·k does not divide, Flower leaves the remainder out by
      default.
    """
    rng, labels, n = start(key, labels, n)
    k = integer("k", k)
    if not 1 <= k <= len(labels) // n:
        raise ValueError(
            f"k must be from 1 to {len(labels) // n}, so that each of n={n} workers has k shards "
            f"of the {len(labels)} examples, got {k}"
        )
    shards = np.array_split(sort(rng.permutation(len(labels)), labels), n * k)
    hands = rng.permutation(n * k).reshape(n, k)
    return pack([np.concatenate([shards[s] for s in hand]) for hand in hands], len(labels))


def start(
    key: jax.Array, labels: np.ndarray, n: int
) -> tuple[np.random.Generator, np.ndarray, int]:
    """Checked start of every scheme: a generator seeded by the key, labels, n."""
    if isinstance(labels, jax.core.Tracer):
        raise TypeError(
            "a partition has a shape that depends on the labels: make it outside jit and vmap"
        )
    rng = generator(key)
    labels, n = np.asarray(labels), integer("n", n)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels must be (N,) ints, got {labels.dtype} of shape {labels.shape}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if len(labels) < n:
        raise ValueError(
            f"each of n={n} workers needs an example, got {len(labels)} labels: take fewer workers"
        )
    return rng, labels, n


def sort(order: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """By label; examples of one label stay in their order."""
    return order[np.argsort(labels[order], kind="stable")]


def pack(parts: Sequence[np.ndarray], none: int) -> Partition:
    counts = np.array([len(part) for part in parts], np.int32)
    indices = np.full((len(parts), counts.max()), none, np.int32)
    for row, part in zip(indices, parts, strict=True):
        row[: len(part)] = part
    return Partition(indices, counts)
