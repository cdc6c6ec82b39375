"""The attacks once more, as slow float64 loops written from the papers' definitions.

Nothing here is shared with the library. `honest` is (h, d), a row a worker. Each function gives the
row (d,) that all attackers send, where they send the same; (num_byzantine, d) where they do not.
"""

import math
import struct
from statistics import NormalDist

import numpy as np


def mean(honest):
    h, d = honest.shape
    return np.array([math.fsum(honest[i, k] for i in range(h)) / h for k in range(d)])


def deviation(honest):
    h, d = honest.shape
    center = mean(honest)
    result = np.zeros(d)
    for k in range(d):
        squares = math.fsum((honest[i, k] - center[k]) ** 2 for i in range(h))
        result[k] = math.sqrt(squares / (h - 1))
    return result


def norm(vector):
    return math.sqrt(math.fsum(float(value) ** 2 for value in vector))


def inner(first, second):
    return math.fsum(float(a) * float(b) for a, b in zip(first, second, strict=True))


def a_little_is_enough(honest, num_byzantine, factor=-1.5, known=None):
    honest = honest[:known]
    return mean(honest) + factor * deviation(honest)


def sparse(honest, num_byzantine, mask=None, factor=-1.5, scale=-5.0):
    row = mean(honest)
    marked = [False] * len(row) if mask is None else mask
    for k, size in enumerate(deviation(honest)):
        row[k] += (scale if marked[k] else factor) * size
    return row


def full_gradient_negation(honest, num_byzantine, scale=None):
    return -(len(honest) + num_byzantine if scale is None else scale) * mean(honest)


def z_max(n, f, reading="honest"):
    supporters = math.floor(n / 2 + 1) - f
    share = (n - f - supporters) / (n - f) if reading == "honest" else (n - supporters) / n
    low, high = -10.0, 10.0  # the paper's words: the largest z with Φ(z) below the share
    for _ in range(200):
        middle = (low + high) / 2
        if NormalDist().cdf(middle) < share:
            low = middle
        else:
            high = middle
    return low


def fall_of_empires(honest, num_byzantine, factor=1.1):
    return (1 - factor) * mean(honest)


def inner_product_manipulation(honest, num_byzantine, tau):
    return -tau * mean(honest)


def hidden_vulnerability(honest, num_byzantine, factor, coordinate=-1):
    row = mean(honest)
    for k in range(len(row)) if coordinate is None else [coordinate]:
        row[k] += factor
    return row


def sign_flipping(honest, num_byzantine, scale=1.0, own=None):
    return -scale * (mean(honest) if own is None else own)


def scaled_sign_flipping(honest, num_byzantine):
    """The row that makes the sum of all n rows zero."""
    total = np.zeros(honest.shape[1])
    for row in honest:
        total += row
    return -total / num_byzantine


def bit_flipping(honest, num_byzantine, bits=(22, 30, 31, 32), own=None):
    rows = np.atleast_2d(mean(honest) if own is None else own)
    flipped = np.zeros(rows.shape)
    for i, row in enumerate(rows):
        for k, value in enumerate(row):
            (word,) = struct.unpack("<I", struct.pack("<f", np.float32(value)))
            for bit in bits:
                word ^= 1 << (bit - 1)
            (flipped[i, k],) = struct.unpack("<f", struct.pack("<I", word))
    return flipped[0] if own is None else flipped


def mimic(honest, num_byzantine, worker=0):
    return honest[worker]


def learned_mimic(steps, direction, warmup):
    """The worker copied in each of several steps: `steps` is (T, h, d)."""
    center, worker, chosen = np.zeros(steps.shape[2]), 0, []
    for t, honest in enumerate(steps):
        if t < warmup:
            center = t / (1 + t) * center + mean(honest) / (1 + t)
            power = np.zeros(len(direction))
            for row in honest:
                power += inner(row - center, direction) * (row - center)
            direction = t / (1 + t) * direction + power / norm(power) / (1 + t)
            direction = direction / norm(direction)
            worker = int(np.argmax([abs(inner(row, direction)) for row in honest]))
        chosen.append(worker)
    return chosen


def direction_of(honest, direction):
    if direction == "unit":
        return -mean(honest) / norm(mean(honest))
    return -np.sign(mean(honest)) if direction == "sign" else -deviation(honest)


def farthest(row, honest):
    return max(norm(row - other) for other in honest)


def total_square(row, honest):
    return math.fsum(norm(row - other) ** 2 for other in honest)


def min_max(honest, num_byzantine, direction="deviation", known=None):
    honest = honest[:known]
    bound = max(farthest(row, honest) for row in honest)
    return largest_step(honest, direction, lambda row: farthest(row, honest) <= bound)


def min_sum(honest, num_byzantine, direction="deviation", bound="largest", known=None):
    honest = honest[:known]
    sums = [total_square(row, honest) for row in honest]
    limit = max(sums) if bound == "largest" else min(sums)
    return largest_step(honest, direction, lambda row: total_square(row, honest) <= limit)


def largest_step(honest, direction, allowed):
    """Bisection, where the paper halves a step."""
    center, along = mean(honest), direction_of(honest, direction)
    low, high = 0.0, 1.0
    while allowed(center + high * along):
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        if allowed(center + middle * along):
            low = middle
        else:
            high = middle
    return center + low * along


def krum_winner(rows, f, neighbours, squared):
    n = len(rows)
    scores = []
    for i in range(n):
        distances = sorted(norm(rows[i] - rows[j]) for j in range(n) if j != i)[:neighbours]
        scores.append(math.fsum(x**2 if squared else x for x in distances))
    return scores.index(min(scores))


def fang_krum(honest, num_byzantine, f, neighbours=None, squared=True, known=None):
    honest = honest[:known]
    h, d = honest.shape
    n = h + num_byzantine
    neighbours = n - f - 2 if neighbours is None else neighbours
    sums = []
    for i in range(h):
        distances = sorted(norm(honest[i] - honest[j]) for j in range(h) if j != i)
        sums.append(math.fsum(distances[: n - f - 2]))
    size = min(sums) / ((n - 2 * f - 1) * math.sqrt(d))
    size += max(norm(row) for row in honest) / math.sqrt(d)
    for _ in range(20):
        row = -size * np.sign(mean(honest))
        if krum_winner([*honest, *[row] * num_byzantine], f, neighbours, squared) >= h:
            return row
        size /= 2
    return -size * np.sign(mean(honest))


def fang_trimmed_mean_interval(honest, base=2.0, known=None):
    """The two ends between which each coordinate is drawn."""
    honest = honest[:known]
    center, spread = mean(honest), deviation(honest)
    near, far = np.zeros(len(center)), np.zeros(len(center))
    for k in range(len(center)):
        values = [row[k] for row in honest]
        if known is not None:
            side = -1 if center[k] > 0 else 1
            near[k], far[k] = center[k] + 3 * side * spread[k], center[k] + 4 * side * spread[k]
        elif center[k] > 0:
            near[k] = min(values)
            far[k] = near[k] / base if near[k] > 0 else near[k] * base
        else:
            near[k] = max(values)
            far[k] = near[k] * base if near[k] > 0 else near[k] / base
    return near, far


def anti_cge(honest, num_byzantine, f):
    h = len(honest)
    order = sorted(range(h), key=lambda i: norm(honest[i]))
    total = honest[order[0]].copy()  # the program counts the shortest one twice
    for i in order[: h - f]:
        total += honest[i]
    if norm(total) == 0:
        return total
    return -total / norm(total) * math.nextafter(norm(honest[order[h - f]]), 0)


def byz_mean(honest, num_byzantine, factor=-1.5):
    n = len(honest) + num_byzantine
    first = a_little_is_enough(honest, num_byzantine, factor)
    few = num_byzantine // 2
    second = ((n - few) * first - len(honest) * mean(honest)) / (num_byzantine - few)
    return np.array([first] * few + [second] * (num_byzantine - few))


def relocated_orthogonal_perturbation(
    honest, num_byzantine, momentum=None, location=1.0, mixing=0.9, angle=270.0, size=None
):
    center = mean(honest)
    momentum = center if momentum is None else momentum
    size = z_max(len(honest) + num_byzantine, num_byzantine) if size is None else size
    reference = mixing * momentum + (1 - mixing) * center
    ones = np.ones(len(center))
    orthogonal = ones - inner(ones, reference) / inner(reference, reference) * reference
    turn = math.radians(angle)
    step = orthogonal / norm(orthogonal) * math.sin(turn)
    step += reference / norm(reference) * math.cos(turn)
    return location * momentum + (1 - location) * center + size * step / norm(step)


def sparse_optimised(honest, num_byzantine, mask=None, scale=-5.0, bound="smallest"):
    """The largest γ by bisection, of the sums of squared distances as they are written."""
    center, spread = mean(honest), deviation(honest)
    mask = np.zeros(honest.shape[1], bool) if mask is None else np.asarray(mask)
    start = center + np.where(mask, scale * spread, 0)
    sums = [total_square(row, honest) for row in honest]
    allowed = min(sums) if bound == "smallest" else max(sums)
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        fits = total_square(start - middle * np.where(mask, 0, spread), honest) <= allowed
        low, high = (middle, high) if fits else (low, middle)
    return start - low * np.where(mask, 0, spread)


def sensitivity_curve(honest, num_byzantine, rule, f, reach=10.0, evaluations=32):
    center, spread = mean(honest), deviation(honest)

    def result(z):
        row = center + z * spread
        return rule(np.concatenate([honest, np.tile(row, (num_byzantine, 1))]), f)

    sizes = [reach * 10 ** (2 * k / max(evaluations - 1, 1) - 2) for k in range(evaluations)]
    tried = [*sizes, *(-size for size in sizes)]
    best = max(tried, key=lambda z: norm(result(z) - result(0.0)))
    return center + best * spread
