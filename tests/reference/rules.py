"""The rules once more, as slow float64 loops written from the papers' definitions.

Nothing here is shared with the library. Rows are workers. Of several possible conventions, each
function takes the ones that the library documents; where a rule has to choose between equals, the
earlier row wins, and of two values equally far on both sides of a centre, the smaller one.

A NaN is sorted as +inf; a distance that is not finite counts as +inf.
"""

import math

import numpy as np


def average(rows, f=0):
    n, d = rows.shape
    result = np.zeros(d)
    for k in range(d):
        result[k] = mean_of([rows[i, k] for i in range(n)])
    return result


def median(rows, f=0, midpoint=False):
    d = rows.shape[1]
    result = np.zeros(d)
    for k in range(d):
        result[k] = middle_of(sorted_values(rows, k), midpoint)
    return result


def trimmed_mean(rows, f):
    n, d = rows.shape
    result = np.zeros(d)
    for k in range(d):
        values = sorted_values(rows, k)
        result[k] = mean_of(values[f : n - f])
    return result


def phocas(rows, f):
    n, d = rows.shape
    centers = trimmed_mean(rows, f)
    result = np.zeros(d)
    for k in range(d):
        result[k] = mean_of(closest(sorted_values(rows, k), centers[k], n - f))
    return result


def meamed(rows, f, midpoint=False):
    n, d = rows.shape
    centers = median(rows, f, midpoint)
    result = np.zeros(d)
    for k in range(d):
        result[k] = mean_of(closest(sorted_values(rows, k), centers[k], n - f))
    return result


def krum(rows, f, neighbours=None, squared=True):
    return multi_krum(rows, f, m=1, neighbours=neighbours, squared=squared)


def multi_krum(rows, f, m=None, neighbours=None, squared=True):
    n = len(rows)
    if m is None:
        m = n - f - 2
    if neighbours is None:
        neighbours = n - f - 2
    scores = krum_scores(rows, neighbours, squared)
    chosen = lowest(scores, m)
    return average(np.array([rows[i] for i in chosen]))


def bulyan(rows, f, m=None, variant="published"):
    picked = bulyan_selection(rows, f, m, variant)
    theta, d = picked.shape
    centers = median(picked)
    result = np.zeros(d)
    for k in range(d):
        result[k] = mean_of(closest(sorted_values(picked, k), centers[k], theta - 2 * f))
    return result


def bulyan_selection(rows, f, m=None, variant="published"):
    """The vectors that the first stage of Bulyan hands to the second."""
    n = len(rows)
    picked = []
    if variant == "published":
        left = list(range(n))
        for _ in range(n - 2 * f):
            # Krum wants r - f - 2 neighbours of r rows; towards the end there is at least one.
            neighbours = max(len(left) - f - 2, 1)
            scores = krum_scores(np.array([rows[i] for i in left]), neighbours, squared=True)
            best = left[lowest(scores, 1)[0]]
            picked.append(rows[best])
            left.remove(best)
    elif variant == "released":
        if m is None:
            m = n - f - 2
        order = lowest(krum_scores(rows, m, squared=False), n)
        for i in range(n - 2 * f - 2):
            count = min(m, n - f - 2 - i)
            picked.append(average(np.array([rows[j] for j in order[i : i + count]])))
    else:
        raise ValueError(variant)
    return np.array(picked)


def sorted_values(rows, k):
    """Coordinate k of all rows, in increasing order, with +inf for every NaN."""
    values = [float(row[k]) for row in rows]
    return sorted(math.inf if math.isnan(value) else value for value in values)


def middle_of(values, midpoint=False):
    """The middle of sorted values; of an even number, the lower one or the mean of both."""
    low, high = (len(values) - 1) // 2, len(values) // 2
    return (values[low] + values[high]) / 2 if midpoint else values[low]


def closest(values, center, count):
    """The `count` values closest to a centre, of two equally far the smaller one."""

    def distance_then_value(value):
        return (distance_between_numbers(value, center), value)

    return sorted(values, key=distance_then_value)[:count]


def distance_between_numbers(a, b):
    # inf - inf is NaN: equal infinities are no distance apart.
    return 0.0 if a == b else abs(a - b)


def mean_of(values):
    return sum(values) / len(values)


def krum_scores(rows, neighbours, squared):
    """Of each row, the sum of the smallest (squared) distances to other rows."""
    n = len(rows)
    scores = []
    for i in range(n):
        distances = []
        for j in range(n):
            if j != i:
                square = squared_distance(rows[i], rows[j])
                distances.append(square if squared else math.sqrt(square))
        distances.sort()
        scores.append(sum(distances[:neighbours]))
    return scores


def squared_distance(a, b):
    total = 0.0
    for k in range(len(a)):
        difference = float(a[k]) - float(b[k])
        # A product and not a power: overflow gives inf here, and an exception there.
        total += difference * difference
    return total if math.isfinite(total) else math.inf


def lowest(scores, count):
    """The places of the `count` lowest scores, lowest first, of equal ones the earlier."""
    return sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count]
