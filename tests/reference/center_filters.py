"""The rules of center.py, clustering.py, filters.py, spectral.py and trust.py once more, as slow
float64 loops.

As in reference.py: nothing is shared with the library; of several conventions, those that the
library documents; of equals, the earlier row. A row whose squared norm is not finite is left out of
every weighted mean.
"""

import math

import numpy as np

from tests.reference.rules import average, lowest, mean_of, median, sorted_values, squared_distance


def geometric_median(rows, f=0, smoothing=0.1, iterations=3, start="zeros"):
    d = rows.shape[1]
    used = [row for row in rows if is_finite(row)]
    if start == "zeros":
        center = np.zeros(d)
    elif start == "mean":
        center = average(np.array(used))
    else:
        center = median(rows)
    for _ in range(iterations):
        weights = [1 / max(smoothing, distance(row, center)) for row in used]
        center = weighted_mean(used, weights)
    return center


def centered_clipping(rows, f=0, radius=None, iterations=1, center=None):
    n, d = rows.shape
    center = np.zeros(d) if center is None else np.array(center, dtype=float)
    for _ in range(iterations):
        move = np.zeros(d)
        for row in rows:
            if is_finite(row):
                apart = distance(row, center)
                factor = 1.0 if apart <= radius else radius / apart
                move += factor * (row - center) / n
        center = center + move
    return center


def cge(rows, f):
    scores = [squared_distance(row, np.zeros(len(row))) for row in rows]
    return mean_of_rows(rows, lowest(scores, len(rows) - f))


def aksel(rows, f, mode="mid"):
    n = len(rows)
    center = median(rows)
    scores = [squared_distance(row, center) for row in rows]
    return mean_of_rows(rows, lowest(scores, (n + 1) // 2 if mode == "mid" else n - f))


def monna(rows, f, index=0):
    scores = [squared_distance(row, rows[index]) for row in rows]
    return mean_of_rows(rows, lowest(scores, len(rows) - f))


def faba(rows, f):
    left = [i for i in range(len(rows)) if is_finite(rows[i])]
    # A row that is not finite is the farthest from everything.
    while len(left) > len(rows) - f:
        total = sum(rows[i] for i in left)
        # len(left) times the distance to the mean, so that small integers round nothing.
        scores = [squared_distance(len(left) * rows[i], total) for i in left]
        left.pop(max(range(len(left)), key=lambda place: (scores[place], -place)))
    return mean_of_rows(rows, left)


def top_eigenvector(covariance):
    values, vectors = np.linalg.eigh(covariance)
    return float(values[-1]), vectors[:, -1]


def caf(rows, f, find_direction=top_eigenvector, only_weighted=True):
    """`find_direction` and `only_weighted` are ByzFL's two departures: see the tests."""
    n, d = rows.shape
    weights = [1.0 if is_finite(row) else 0.0 for row in rows]
    best, least = weights, math.inf
    while sum(weights) > n - 2 * f:
        used = [i for i in range(n) if weights[i] > 0]
        mean = weighted_mean([rows[i] for i in used], [weights[i] for i in used])
        centered = np.zeros((n, d))
        covariance = np.zeros((d, d))
        for i in range(n):
            if is_finite(rows[i]):
                centered[i] = rows[i] - mean
        for i in used:
            covariance += weights[i] * np.outer(centered[i], centered[i]) / sum(weights)
        value, direction = find_direction(covariance)
        if value < least:
            best, least = weights, value
        tau = [float(direction @ row) ** 2 for row in centered]
        largest = max(tau[i] for i in (used if only_weighted else range(n)))
        if largest == 0:
            break
        weights = [weights[i] * (1 - tau[i] / largest) if weights[i] else 0.0 for i in range(n)]
    used = [i for i in range(n) if best[i] > 0]
    return weighted_mean([rows[i] for i in used], [best[i] for i in used])


def dnc(rows, f, draws, c=1.0):
    """`draws`: the coordinates that each iteration looks at."""
    n = len(rows)
    times_kept = [0] * n
    for coordinates in draws:
        seen = rows[:, list(coordinates)]
        used = [i for i in range(n) if is_finite(rows[i])]
        mean = average(np.array([seen[i] for i in used]))
        direction = np.linalg.svd(np.array([seen[i] - mean for i in used]))[2][0]
        scores = [math.inf] * n
        for i in used:
            scores[i] = float(direction @ (seen[i] - mean)) ** 2
        for i in lowest(scores, n - int(c * f)):
            times_kept[i] += 1
    return mean_of_rows(rows, [i for i in range(n) if times_kept[i] == max(times_kept)])


def fltrust(rows, f=0, trusted=None):
    length = norm(trusted)
    total, result = 0.0, np.zeros(len(trusted))
    for row in rows:
        if is_finite(row) and norm(row) > 0:
            weight = max(0.0, float(row @ trusted) / norm(row) / length)
            total += weight
            result += weight * length / norm(row) * row
    return result / total if total > 0 else result


def signguard(rows, f, lower=0.1, upper=3.0, coordinates=None):
    n, d = rows.shape
    coordinates = range(d) if coordinates is None else list(coordinates)
    finite = [i for i in range(n) if is_finite(rows[i])]
    norms = [norm(row) if is_finite(row) else math.inf for row in rows]
    middle = sorted(norms)[(n - 1) // 2]
    usual = [i for i in finite if lower * middle <= norms[i] <= upper * middle]

    points = {}
    for i in finite:
        values = [rows[i, k] for k in coordinates]
        # Numbers for shares, d times as far apart: whole ones tie where shares tie.
        positive = sum(value > 0 for value in values)
        negative = sum(value < 0 for value in values)
        points[i] = np.array([positive, len(values) - positive - negative, negative], dtype=float)
    excess = [points[i][0] - points[i][2] for i in finite]
    centers = [points[finite[int(np.argmin(excess))]], points[finite[int(np.argmax(excess))]]]
    for turn in range(11):
        clusters = ([], [])
        for i in finite:
            second = distance(points[i], centers[1]) < distance(points[i], centers[0])
            clusters[second].append(i)
        if turn < 10:
            for k in (0, 1):
                if clusters[k]:
                    centers[k] = average(np.array([points[i] for i in clusters[k]]))
    larger = clusters[1] if len(clusters[1]) > len(clusters[0]) else clusters[0]

    chosen = [i for i in usual if i in larger] or usual
    return average(np.array([rows[i] * min(1.0, middle / norms[i]) for i in chosen]))


def foundation_fl(rows, f, rule, m=None):
    n, d = rows.shape
    finite = [i for i in range(n) if is_finite(rows[i])]
    highest, lowest_ = np.zeros(d), np.zeros(d)
    for k in range(d):
        values = sorted_values([rows[i] for i in finite], k)
        lowest_[k], highest[k] = values[0], values[-1]
    scores = [
        min(squared_distance(rows[i], highest), squared_distance(rows[i], lowest_)) for i in finite
    ]
    middle = rows[finite[int(np.argmax(scores))]]
    copies = n // 2 if m is None else m
    return rule(np.array([*rows, *([middle] * copies)]), f)


def clipped_clustering(rows, f, history=(), linkage="average"):
    n = len(rows)
    norms = [norm(row) if is_finite(row) else math.inf for row in rows]
    seen = sorted([*norms, *(past for past in history if not math.isnan(past))])
    low, high = seen[(len(seen) - 1) // 2], seen[len(seen) // 2]
    limit = low if low == high else (low + high) / 2
    apart = {
        (i, j): 1 - float(rows[i] @ rows[j]) / norms[i] / norms[j]
        for i in range(n)
        for j in range(n)
    }
    clusters = [[i] for i in range(n) if is_finite(rows[i])]
    while len(clusters) > 2:
        pairs = [(a, b) for a in range(len(clusters)) for b in range(a + 1, len(clusters))]
        gaps = []
        for a, b in pairs:
            between = [apart[i, j] for i in clusters[a] for j in clusters[b]]
            gaps.append(min(between) if linkage == "single" else sum(between) / len(between))
        a, b = pairs[int(np.argmin(gaps))]
        clusters[a] = sorted(clusters[a] + clusters.pop(b))
        clusters.sort()
    chosen = max(clusters, key=len)  # of equal ones, that of the earliest row
    return average(np.array([rows[i] * min(1.0, limit / norms[i]) for i in chosen]))


def is_finite(row):
    return math.isfinite(squared_distance(row, np.zeros(len(row))))


def norm(row):
    return math.sqrt(squared_distance(row, np.zeros(len(row))))


def distance(a, b):
    return math.sqrt(squared_distance(a, b))


def mean_of_rows(rows, chosen):
    return average(np.array([rows[i] for i in chosen]))


def weighted_mean(rows, weights):
    result = np.zeros(len(rows[0]))
    for k in range(len(result)):
        products = [weight * row[k] for weight, row in zip(weights, rows, strict=True)]
        result[k] = mean_of(products) / mean_of(weights)
    return result
