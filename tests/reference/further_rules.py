"""The rules of groups.py and of further files once more, as slow float64 loops.

As in rules.py: nothing is shared with the library; of equals, the earlier row.
"""

import math

import numpy as np

from tests.reference.center_filters import (
    centered_clipping,
    is_finite,
    mean_of_rows,
    norm,
    top_eigenvector,
    weighted_mean,
)
from tests.reference.rules import average, lowest, median, squared_distance


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


def fed_nga(rows, f):
    result = np.zeros(rows.shape[1])
    for row in rows:
        if is_finite(row) and norm(row) > 0:
            result += row / norm(row) / len(rows)
    return result


def gas(rows, f, groups=None, order=None, rule=median):
    n, d = rows.shape
    groups = min(1000, d) if groups is None else groups
    order = list(range(d)) if order is None else list(order)
    scores, done = [0.0] * n, 0
    for group in range(groups):
        width = d // groups + (group < d % groups)
        some = order[done : done + width]
        done += width
        center = rule(rows[:, some], f)
        for i in range(n):
            scores[i] += norm(rows[i, some] - center) if is_finite(rows[i]) else math.inf
    return mean_of_rows(rows, lowest(scores, n - f))


def fedseca(rows, f, sparsity=0.9):
    n, d = rows.shape
    used = [i for i in range(n) if is_finite(rows[i])]
    signs = {i: np.sign(rows[i]) for i in used}
    votes = {}
    for i in used:
        agreement = [np.sign(sum(signs[i] * signs[j])) for j in used]
        votes[i] = max(0.0, sum(agreement))  # in nths, a tie would be rounded to a vote
    bound = middle_length(rows)
    short = {i: rows[i] * min(1.0, bound / norm(rows[i]) if norm(rows[i]) else 1.0) for i in used}
    result = np.zeros(d)
    for k in range(d):
        elected = np.sign(sum(votes[i] * signs[i][k] for i in used))
        sizes = sorted(abs(short[i][k]) if i in short else math.inf for i in range(n))
        most = sizes[(n - 1) // 2]
        values = []
        for i in used:
            least = sorted(abs(rows[i]))[math.floor(sparsity * (d - 1) * (1 + 1e-12))]
            if abs(rows[i][k]) > least and signs[i][k] * elected > 0:
                values.append(np.sign(rows[i][k]) * min(abs(short[i][k]), most))
        result[k] = sum(values) / len(values) if values else 0.0
    return result


def lasa(rows, f, sparsity=0.3, norm_bound=1.0, sign_bound=1.0, layers=None):
    """`layers`: the numbers of each layer's coordinates; all in one if None."""
    d = rows.shape[1]
    used = np.array([row for row in rows if is_finite(row)])
    lengths = [norm(row) for row in used]
    bound = sorted(lengths)[(len(used) - 1) // 2]
    short = np.array(
        [
            row * (min(1.0, bound / own) if own else 1)
            for row, own in zip(used, lengths, strict=True)
        ]
    )
    kept = max(math.floor((1 - sparsity) * d * (1 + 1e-12)), 1)
    sparse = [np.where(abs(row) >= sorted(abs(row))[d - kept], row, 0.0) for row in short]
    result = np.zeros(d)
    for layer in [list(range(d))] if layers is None else layers:
        norms = off([norm(row[layer]) for row in sparse])
        signs = off([sum(np.sign(row[layer])) / max(sum(row[layer] != 0), 1) for row in sparse])
        both = range(len(used))
        usual = [i for i in both if norms[i] < norm_bound and signs[i] < sign_bound]
        result[layer] = average(short[usual or list(both)][:, layer])
    return result


def off(values):
    middle, deviation = np.median(values), np.std(values)
    return [abs(value - middle) / deviation if deviation > 1e-12 else 0.0 for value in values]


def autogm(rows, f, penalty=None, rounds=3, iterations=3, smoothing=None):
    n = len(rows)
    center = median(rows)
    scale = middle_length([row - center for row in rows])
    penalty = n * scale if penalty is None else penalty
    smoothing = 1e-6 * scale if smoothing is None else smoothing
    used = [row for row in rows if is_finite(row)]
    for _ in range(rounds):
        apart = [norm(row - center) for row in used]
        weights = water_filled(apart, penalty)
        for _ in range(iterations):
            pulls = [
                weight / max(smoothing, norm(row - center))
                for weight, row in zip(weights, used, strict=True)
            ]
            center = weighted_mean(used, pulls)
    return center


def water_filled(apart, penalty):
    """By bisection of the level, instead of by sorting."""
    low, high = min(apart), max(apart) + penalty
    for _ in range(200):
        level = (low + high) / 2
        if sum(max(level - length, 0.0) for length in apart) > penalty:
            high = level
        else:
            low = level
    return [max(level - length, 0.0) / penalty for length in apart]


def flame(rows, f):
    n = len(rows)
    used = [i for i in range(n) if is_finite(rows[i])]
    clusters = [[i] for i in used]
    while max(map(len, clusters)) <= n // 2 and len(clusters) > 1:
        gaps = [
            (min(angle(rows[i], rows[j]) for i in one for j in other), a, b)
            for a, one in enumerate(clusters)
            for b, other in enumerate(clusters)
            if a < b
        ]
        _, a, b = min(gaps)
        clusters[a] += clusters.pop(b)
    cluster = max(clusters, key=len)
    lengths = sorted(norm(row) if is_finite(row) else math.inf for row in rows)
    bound = (lengths[(n - 1) // 2] + lengths[n // 2]) / 2
    return average(np.array([rows[i] * min(1.0, bound / norm(rows[i])) for i in cluster]))


def angle(a, b):
    return 1 - float(a @ b) / norm(a) / norm(b)


def lfighter(rows, f, neurons=None, iterations=10):
    used = [i for i in range(len(rows)) if is_finite(rows[i])]
    vectors = rows[:, :, None] if neurons is None else neurons(rows)
    moved = [sum(norm(vectors[i, c]) for i in used) for c in range(vectors.shape[1])]
    two = sorted(range(len(moved)), key=lambda c: -moved[c])[:2]
    points = {i: vectors[i, two].ravel() for i in used}
    starts = max(
        ((i, j) for i in used for j in used),
        key=lambda pair: norm(points[pair[0]] - points[pair[1]]),
    )
    means = [points[i] for i in starts]
    for _ in range(iterations + 1):
        clusters = [[], []]
        for i in used:
            apart = [norm(points[i] - mean) for mean in means]
            clusters[0 if apart[0] <= apart[1] else 1].append(i)
        means = [
            average(np.array([points[i] for i in some])) if some else mean
            for some, mean in zip(clusters, means, strict=True)
        ]

    def dissimilarity(some):
        least = [
            min([0.0, *(1 - angle(points[i], points[j]) for j in some if j != i)]) for i in some
        ]
        return sum(1 - value for value in least)

    good = 1 if dissimilarity(clusters[1]) > dissimilarity(clusters[0]) else 0
    return average(np.array([rows[i] for i in clusters[good]]))


def sequential_centered_clipping(rows, f=0, radius=None, bucket_size=3, center=None, order=None):
    n, d = rows.shape
    center = np.zeros(d) if center is None else np.array(center, dtype=float)
    if radius is None:
        radius = middle_length([row - center for row in rows])
    if order is None:
        cosine = [
            1 - angle(row, center) if is_finite(row) and norm(row) and norm(center) else 0.0
            for row in rows
        ]
        order = sorted(range(n), key=lambda i: cosine[i])
    buckets = math.ceil(n / bucket_size)
    for bucket in range(buckets):
        members, move = order[bucket::buckets], np.zeros(d)
        for i in members:
            if is_finite(rows[i]):
                apart = norm(rows[i] - center)
                move += (rows[i] - center) * (1.0 if apart <= radius else radius / apart)
        center = center + move / len(members)
    return center


def layerwise_centered_clipping(rows, f=0, radius=None, iterations=1, center=None, layers=None):
    d = rows.shape[1]
    result = np.zeros(d) if center is None else np.array(center, dtype=float)
    for layer in [list(range(d))] if layers is None else layers:
        some, own = rows[:, layer], result[layer]
        reach = middle_length([row - own for row in some]) if radius is None else radius
        result[layer] = centered_clipping(some, f, reach, iterations, own)
    return result
