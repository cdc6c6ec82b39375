"""How a data set is shared among workers: one function a scheme, (key, labels, n, *, options).

iid(jax.random.key(0), dataset.train_labels, 10) is the `Partition` of ten workers.
"""

from simbyz.data.partition.imbalance import class_imbalance, long_tail
from simbyz.data.partition.picture import class_counts, plot_partition
from simbyz.data.partition.schemes import (
    Partition,
    by_owner,
    dirichlet,
    extreme,
    gamma_similarity,
    iid,
    label_shards,
)

__all__ = [
    "Partition",
    "by_owner",
    "class_counts",
    "class_imbalance",
    "dirichlet",
    "extreme",
    "gamma_similarity",
    "iid",
    "label_shards",
    "long_tail",
    "plot_partition",
]
