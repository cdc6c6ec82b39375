"""The rules of groups.py and of further files once more, as slow float64 loops.

As in rules.py: nothing is shared with the library; of equals, the earlier row.
"""

import math

import numpy as np

from tests.reference.center_filters import is_finite, norm, top_eigenvector, weighted_mean
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


def huber_center(rows, f=0, radius=None, iterations=3):
    used = [row for row in rows if is_finite(row)]
    center = median(rows)
    if radius is None:
        radius = middle_length([row - center for row in rows])
    for _ in range(iterations):
        apart = [norm(row - center) for row in used]
        weights = [1.0 if length <= radius else radius / length for length in apart]
        center = weighted_mean(used, weights)
    return center


def norm_bounded_mean(rows, f=0, radius=None):
    radius = middle_length(rows) if radius is None else radius
    result = np.zeros(rows.shape[1])
    for row in rows:
        if is_finite(row):
            result += row * (1.0 if norm(row) <= radius else radius / norm(row)) / len(rows)
    return result


def filter_l2(rows, f, deviation=0.0):
    n, d = rows.shape
    weights = [1.0 if is_finite(row) else 0.0 for row in rows]
    while True:
        used = [i for i in range(n) if weights[i] > 0]
        center = weighted_mean([rows[i] for i in used], [weights[i] for i in used])
        covariance = np.zeros((d, d))
        for i in used:
            apart = rows[i] - center
            covariance += weights[i] * np.outer(apart, apart) / sum(weights)
        value, direction = top_eigenvector(covariance)
        tau = {i: float(direction @ (rows[i] - center)) ** 2 for i in used}
        largest = max(tau.values())
        if value <= deviation**2 or largest == 0:
            return center
        fewer = [weights[i] * (1 - tau[i] / largest) if i in tau else 0.0 for i in range(n)]
        if sum(fewer) < n - 2 * f:
            return center
        weights = fewer


def robust_learning_rate(rows, f, threshold=None):
    threshold = f + 1 if threshold is None else threshold
    used = np.array([row for row in rows if is_finite(row)])
    result = average(used)
    for k in range(rows.shape[1]):
        votes = sum((row[k] > 0) - (row[k] < 0) for row in used.tolist())
        if abs(votes) < threshold:
            result[k] = -result[k]
    return result


def middle_length(rows):
    return sorted(norm(row) if is_finite(row) else math.inf for row in rows)[(len(rows) - 1) // 2]
