"""The pre-aggregators once more, as slow float64 loops written from the papers' definitions.

Nothing here is shared with the library. Rows are workers. Of equally far rows the earlier one is
taken, after the row itself. A distance that is not finite counts as +inf.
"""

import math

import numpy as np


def nearest_neighbor_mixing(rows, f):
    n, d = rows.shape
    result = np.zeros((n, d))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        others.sort(key=lambda j: (distance(rows[i], rows[j]), j))
        nearest = [i, *others[: n - f - 1]]
        if all(is_finite(rows[j]) for j in nearest):
            result[i] = mean_row([rows[j] for j in nearest])
        else:
            result[i] = math.nan
    return result


def clipping(rows, f=0, radius=None):
    n, d = rows.shape
    result = np.zeros((n, d))
    for i in range(n):
        length = norm(rows[i])
        if math.isfinite(length):
            for k in range(d):
                result[i, k] = rows[i, k] * (radius / length if length > radius else 1.0)
    return result


def adaptive_robust_clipping(rows, f):
    n = len(rows)
    longest_first = sorted((norm(row) for row in rows), reverse=True)
    num_clipped = (2 * f * (n - f)) // n
    return clipping(rows, f, radius=longest_first[num_clipped])


def buckets(rows, order, bucket_size):
    """Means of the rows in a given order, s by s."""
    means = []
    members = []
    for place, i in enumerate(order):
        members.append(rows[i])
        if len(members) == bucket_size or place == len(order) - 1:
            means.append(mean_row(members))
            members = []
    return np.array(means)


def is_finite(row):
    return all(math.isfinite(value) for value in row)


def norm(row):
    return math.hypot(*row) if is_finite(row) else math.inf


def distance(a, b):
    total = 0.0
    for k in range(len(a)):
        difference = float(a[k]) - float(b[k])
        total += difference * difference
    return math.sqrt(total) if math.isfinite(total) else math.inf


def mean_row(rows):
    result = np.zeros(len(rows[0]))
    for k in range(len(result)):
        result[k] = sum(float(row[k]) for row in rows) / len(rows)
    return result
