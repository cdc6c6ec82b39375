"""The rules of groups.py and of further files once more, as slow float64 loops.

As in rules.py: nothing is shared with the library; of equals, the earlier row.
"""

import math

import numpy as np

from tests.reference.rules import average, median, squared_distance


def median_of_means(rows, f, groups=None, order=None, rule=median):
    """`order`: the rows' numbers, place by place; that of the workers if None."""
    n = len(rows)
    groups = 2 * f + 1 if groups is None else groups
    order = list(range(n)) if order is None else list(order)
    starts = [math.ceil(group * n / groups) for group in range(groups + 1)]
    means = []
    for group in range(groups):
        members = order[starts[group] : starts[group + 1]]
        finite = all(np.all(np.isfinite(rows[i])) for i in members)
        held = [rows[i] if finite else np.full(rows.shape[1], math.nan) for i in members]
        means.append(average(np.array(held)))
    return rule(np.array(means), f)


def medoid(rows, f=0):
    n = len(rows)
    apart = [[math.sqrt(squared_distance(a, b)) for b in rows] for a in rows]
    reach = [sorted(distances)[(n - 1) // 2] for distances in apart]
    limit = min(reach) / np.finfo(float).eps
    near = [i for i in range(n) if math.isfinite(reach[i]) and reach[i] <= limit]
    return rows[min(near, key=lambda i: sum(apart[i][j] for j in near))]
