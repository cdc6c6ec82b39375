"""A partition of labels (N,) as a table of counts and as a picture.

ValueError: it names examples that the labels lack.
"""

from typing import TYPE_CHECKING

import numpy as np

from simbyz.data.partition.schemes import Partition, require_partition

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Above this many workers or classes, names of rows and columns are thinned out.
MANY = 30


def class_counts(partition: Partition, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many examples of each class each worker holds.

    Returns:
      (n, C) counts, and (C,) the label of each column, ascending.
    """
    require_partition(partition)
    indices, counts = np.asarray(partition.indices), np.asarray(partition.counts)
    classes, column = np.unique(np.asarray(labels), return_inverse=True)
    held = np.arange(indices.shape[1])[None] < counts[:, None]
    least, most = indices[held].min(initial=0), indices[held].max(initial=-1)
    if least < 0 or most >= len(column):
        raise ValueError(
            f"the partition names example {least if least < 0 else most}, the labels are "
            f"{len(column)}: give the labels that it was made from"
        )
    workers = np.nonzero(held)[0]
    flat = workers * len(classes) + column[indices[held]]
    table = np.bincount(flat, minlength=len(counts) * len(classes))
    return table.reshape(len(counts), len(classes)), classes


def plot_partition(
    partition: Partition, labels: np.ndarray, *, title: str | None = None
) -> "Figure":
    """Workers × classes, a bubble each whose area is the number of examples; and the totals.

    Returns:
      A figure that pyplot does not keep: show it in a notebook, or `savefig` it.
    """
    from matplotlib import pyplot as plt  # late: only pictures need it

    table, classes = class_counts(partition, labels)
    n, c = table.shape
    cell = min(0.36, 20 / max(n, c))  # inches; a picture stays below 20
    size = (2.2 + cell * max(n, 8), 2.2 + cell * max(c, 4))
    figure, (totals, axes) = plt.subplots(
        2, 1, figsize=size, sharex=True, height_ratios=(1, cell * max(c, 4)), layout="constrained"
    )
    plt.close(figure)
    totals.bar(np.arange(n), table.sum(axis=1), color="#0072B2")
    totals.set(ylabel="examples")
    worker, column = np.nonzero(table)
    share = table[worker, column] / table.max()
    largest = (72 * 0.85 * cell) ** 2  # in square points, a point being a 72nd of an inch
    # Size alone tells the number; darker where there is more, for all eyes and in grey.
    colors = plt.get_cmap("Blues")(0.4 + 0.6 * share)
    bubbles = axes.scatter(worker, column, s=largest * share, color=colors, linewidth=0)
    axes.set(xlim=(-0.6, n - 0.4), ylim=(-0.6, c - 0.4), xlabel="worker", ylabel="class")
    axes.set_xticks(np.arange(n)[:: 1 + n // MANY])
    axes.set_yticks(np.arange(c)[:: 1 + c // MANY], classes[:: 1 + c // MANY])
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    handles, names = bubbles.legend_elements(
        prop="sizes", num=3, func=lambda area: area / largest * table.max(), color="#0072B2"
    )
    axes.legend(handles, names, title="examples", loc="center left", bbox_to_anchor=(1, 0.5))
    if title is not None:
        figure.suptitle(title)
    return figure
