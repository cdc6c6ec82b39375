"""Rules that remember, as float64 loops over steps, written from the papers: each takes the rows of
all steps (T, n, d) and gives the aggregates (T, d).
"""

import numpy as np
from scipy.stats import beta


def cosine(x, y):
    both = np.linalg.norm(x) * np.linalg.norm(y)
    return x @ y / both if both else 0.0


def foolsgold(steps, confidence=1.0):
    n = steps.shape[1]
    history, results = np.zeros(steps.shape[1:]), []
    for rows in steps:
        history = history + rows
        similar = np.array(
            [
                [0.0 if i == j else cosine(history[i], history[j]) for j in range(n)]
                for i in range(n)
            ]
        )
        most = similar.max(axis=1)
        for i in range(n):
            for j in range(n):
                if most[i] < most[j]:
                    similar[i, j] *= most[i] / most[j]
        weights = np.clip(1 - similar.max(axis=1), 0, 1)
        weights = weights / weights.max()
        weights[weights == 1] = 0.99
        for i in range(n):
            if weights[i] > 0:
                logit = np.log(weights[i] / (1 - weights[i])) + 0.5
                weights[i] = min(1, max(0, confidence * logit))
        results.append(sum(w * row for w, row in zip(weights, rows, strict=True)) / weights.sum())
    return np.array(results)


def adaptive_federated_averaging(steps, prior=3.0, slack=2.0, increase=0.5, ban=0.95):
    n = steps.shape[1]
    good, bad, results = np.full(n, prior), np.full(n, prior), []
    for rows in steps:
        score = good / (good + bad)
        allowed = [i for i in range(n) if beta.cdf(0.5, good[i], bad[i]) <= ban]
        left, width = list(allowed), slack
        while True:
            mean = sum(score[i] * rows[i] for i in left) / sum(score[i] for i in left)
            similar = {i: cosine(mean, rows[i]) for i in left}
            values = list(similar.values())
            middle, reach = np.median(values), width * np.std(values)
            if np.mean(values) < middle:
                found = [i for i in left if similar[i] < middle - reach]
            else:
                found = [i for i in left if similar[i] > middle + reach]
            left = [i for i in left if i not in found]
            width += increase
            if not found:
                break
        results.append(mean)
        for i in allowed:
            if i in left:
                good[i] += 1
            else:
                bad[i] += 1
    return np.array(results)


def safeguard(steps, windows, thresholds=None, factor=1.5, reset=None):
    n = steps.shape[1]
    good, sums, results = set(range(n)), [{}, {}], []
    for t, rows in enumerate(steps):
        results.append(sum(rows[i] for i in good) / len(good))
        stays = set(good)
        for which, window in enumerate(windows):
            if t % window == 0:
                sums[which] = {i: np.zeros(rows.shape[1]) for i in range(n)}
            for i in range(n):
                sums[which][i] = sums[which][i] + rows[i] / len(good)

            def distance(i, j, which=which):
                return np.linalg.norm(sums[which][i] - sums[which][j])

            if thresholds is None:
                reach = {
                    i: sorted([distance(i, j) for j in good])[n // 2]
                    if len(good) > n // 2
                    else np.inf
                    for i in good
                }
                middle = min(sorted(good), key=lambda i: reach[i])
                bound = factor * reach[middle]
            else:
                near = {i: sum(distance(i, j) <= thresholds[which] for j in good) for i in good}
                middle = max(sorted(good), key=lambda i: near[i])
                bound = 2 * thresholds[which]
            stays &= {i for i in good if distance(i, middle) <= bound}
        good = stays
        if reset is not None and (t + 1) % reset == 0:
            good = set(range(n))
    return np.array(results)


def bant(steps, loss, rate_of_steps, parameters, rate=0.1):
    n = steps.shape[1]
    trust, results = np.full(n, 1 / n), []
    for rows in steps:
        gains = np.array(
            [max(0, loss(parameters) - loss(parameters - rate_of_steps * x)) for x in rows]
        )
        share = gains / gains.sum() if gains.sum() else np.full(n, 1 / n)
        speed = rate if gains.sum() else 0.001
        trust = (1 - speed) * trust + speed * share
        weights = np.where(share > 0, trust, 0)
        results.append(weights @ rows / weights.sum())
    return np.array(results)


def nearest_in_simplex(wanted, cap, count):
    """By bisection of the level, where the exact one is searched among bends."""
    chosen = sorted(range(len(wanted)), key=lambda i: -wanted[i])[:count]
    low, high = min(wanted[i] for i in chosen) - cap - 1, max(wanted)
    for _ in range(200):
        level = (low + high) / 2
        total = sum(min(cap, max(0, wanted[i] - level)) for i in chosen)
        low, high = (level, high) if total > 1 else (low, level)
    weights = np.zeros(len(wanted))
    for i in chosen:
        weights[i] = min(cap, max(0, wanted[i] - level))
    return weights


def fedlaw(steps, gradient, rate_of_steps, parameters, f, rate, cap=1.0, nonzero=None):
    n = steps.shape[1]
    weights, results = np.full(n, 1 / n), []
    for rows in steps:
        point = parameters - rate_of_steps * weights @ rows
        wanted = weights + rate * rate_of_steps * rows @ gradient(point)
        weights = nearest_in_simplex(wanted, cap, n - f if nonzero is None else nonzero)
        results.append(weights @ rows)
    return np.array(results)


def hessian_product(moves, turns, vector):
    """By updating B = σI pair by pair, where the rule takes the compact form."""
    scale = turns[-1] @ moves[-1] / (moves[-1] @ moves[-1])
    matrix = scale * np.eye(len(vector))
    for s, y in zip(moves, turns, strict=True):
        towards = matrix @ s
        matrix = matrix - np.outer(towards, towards) / (s @ towards) + np.outer(y, y) / (y @ s)
    return matrix @ vector


def squares_within(values, clusters):
    def alone(some):
        return sum((value - np.mean(some)) ** 2 for value in some)

    if clusters == 1:
        return alone(values), None
    ordered = sorted(values)
    splits = range(1, len(values))
    sums = [alone(ordered[:count]) + alone(ordered[count:]) for count in splits]
    best = int(np.argmin(sums))
    return sums[best], ordered[best + 1]


def fldetector(steps, thetas, draws, window):
    """draws: step -> uniform samples (references, n)."""
    n = steps.shape[1]
    found, moves, turns, misses, results = set(), [], [], [], []
    for t, rows in enumerate(steps):
        left = [i for i in range(n) if i not in found]
        aggregate = np.mean([rows[i] for i in left], axis=0)
        results.append(aggregate)
        predicted = np.zeros_like(rows) if t == 0 else steps[t - 1]
        if len(moves) >= window:
            turned = hessian_product(moves[-window:], turns[-window:], thetas[t] - thetas[t - 1])
            predicted = predicted + turned
        distances = np.linalg.norm(predicted - rows, axis=1)
        misses.append(distances / distances.sum())
        if t > 0:
            moves.append(thetas[t] - thetas[t - 1])
            turns.append(aggregate - results[t - 1])
        if t >= 2 * window and not found:
            scores = np.mean(misses[-window:], axis=0)
            ours = (scores - scores.min()) / (scores.max() - scores.min())
            samples = draws(t)
            gaps, slack = [], 0.0
            for k in (1, 2):
                logs = [np.log(squares_within(one, k)[0]) for one in samples]
                gaps.append(np.mean(logs) - np.log(squares_within(ours, k)[0]))
                slack = np.std(logs) * np.sqrt(1 + 1 / len(samples))
            if gaps[1] - slack > gaps[0]:
                bound = squares_within(scores, 2)[1]
                found = {i for i in range(n) if scores[i] >= bound}
    return np.array(results)
