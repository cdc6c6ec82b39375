"""Rules and attacks without a server, and a whole run, as float64 loops over nodes and neighbours.

Nothing is shared with the library. `rows` are what meets at a node, its own first; `weights` are
theirs, of sum 1.
"""

import numpy as np

from tests.reference import rules

ROUNDING = 1e-6


def distance(one, other):
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.sqrt(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)))
    return length if np.isfinite(length) else np.inf


def by_distance(rows):
    """Neighbours from the nearest to the farthest."""
    return sorted(range(1, len(rows)), key=lambda j: distance(rows[j], rows[0]))


def bound_of(weights, f):
    return sum(sorted(weights[1:], reverse=True)[:f])


def moved(rows, shares):
    """x_0 + Σ s_j (x_j - x_0)."""
    result = np.array(rows[0], float)
    for j in range(1, len(rows)):
        if shares[j] > 0:
            result = result + shares[j] * (rows[j] - rows[0])
    return result


def clipped(rows, weights, radius):
    shares = [0.0] * len(rows)
    for j in range(1, len(rows)):
        length = distance(rows[j], rows[0])
        if np.isfinite(length):
            shares[j] = weights[j] * (1 if length <= radius else radius / length)
    return moved(rows, shares)


def gossip(rows, f, weights):
    return moved(rows, weights)


def self_centred_clipping(rows, f, weights, radius):
    return clipped(rows, weights, radius)


def oracle_clipping(rows, f, weights, honest):
    delta = sum(weights[j] for j in range(len(rows)) if not honest[j])
    if delta == 0:
        return clipped(rows, weights, np.inf)
    total = 0.0
    for j in range(1, len(rows)):
        if honest[j]:
            total += weights[j] * distance(rows[j], rows[0]) ** 2
    return clipped(rows, weights, np.sqrt(total / delta))


def radius_of(rows, weights, kept, bound):
    if bound == 0:
        return np.inf
    return np.sqrt(sum(weights[j] * distance(rows[j], rows[0]) ** 2 for j in kept) / bound)


def nearest_up_to(rows, weights, limit):
    """Neighbours by distance while their weight is at most the limit."""
    kept, total = [], 0.0
    for j in by_distance(rows):
        total += weights[j]
        if total > limit + ROUNDING:
            break
        kept.append(j)
    return kept


def clipped_gossip_radius(rows, f, weights):
    bound = bound_of(weights, f)
    return radius_of(rows, weights, nearest_up_to(rows, weights, sum(weights[1:]) - bound), bound)


def clipped_gossip(rows, f, weights):
    return clipped(rows, weights, clipped_gossip_radius(rows, f, weights))


def clipped_gossip_plus(rows, f, weights):
    bound = bound_of(weights, f)
    if bound == 0:
        return clipped(rows, weights, np.inf)
    kept = nearest_up_to(rows, weights, sum(weights[1:]) - 2 * bound)
    return clipped(rows, weights, distance(rows[kept[-1]], rows[0]) if kept else 0.0)


def gts(rows, f, weights):
    left = sum(weights[1:]) - bound_of(weights, f)
    shares = [0.0] * len(rows)
    for j in by_distance(rows):
        shares[j] = max(0.0, min(weights[j], left))
        left -= shares[j]
    return moved(rows, shares)


def remove_then_clip(rows, f, weights):
    kept = by_distance(rows)[: len(rows) - 1 - f]
    left = [weights[j] if j in kept else 0.0 for j in range(len(rows))]
    return clipped(rows, left, radius_of(rows, weights, kept, bound_of(weights, f)))


def weighted(rows, weights, chosen):
    total = sum(weights[j] for j in chosen)
    return sum(weights[j] * np.asarray(rows[j], float) for j in chosen) / total


def ios(rows, f, weights):
    left = list(range(len(rows)))
    for _ in range(f):
        center = weighted(rows, weights, [j for j in left if np.isfinite(rows[j]).all()])
        left.remove(max((j for j in left if j), key=lambda j: (distance(rows[j], center), -j)))
    return weighted(rows, weights, left)


def bridge(rows, f):
    kept = len(rows) - 1 - 2 * f
    return (kept * rules.trimmed_mean(np.asarray(rows[1:], float), f) + rows[0]) / (kept + 1)


def ubar(rows, f, loss_of, own_share=0.5):
    near = by_distance(rows)[: len(rows) - 1 - f]
    good = [j for j in near if loss_of(rows[j]) <= loss_of(rows[0])]
    good = good or [min(near, key=lambda j: loss_of(rows[j]))]
    mean = sum(np.asarray(rows[j], float) for j in good) / len(good)
    return own_share * np.asarray(rows[0], float) + (1 - own_share) * mean


def metropolis(adjacency):
    """W (n, n) by loops, from a symmetric matrix of 0 and 1."""
    n = len(adjacency)
    matrix = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if adjacency[i][j]:
                degrees = sum(adjacency[i]), sum(adjacency[j])
                matrix[i, j] = 1 / (1 + max(degrees))
    for i in range(n):
        matrix[i, i] = 1 - sum(matrix[i])
    return matrix


def exchange(vectors, adjacency, byzantine, weights, lie, rule):
    """One exchange of honest vectors, {node: (d,)} -> {node: (d,)}.

    lie: (node, {neighbour: vector} with the node itself, Byzantine neighbours) -> their rows.
    rule: (rows, weights) -> (d,).
    """
    made = {}
    for i in vectors:
        heard = [j for j in range(len(adjacency)) if adjacency[i][j]]
        honest = [j for j in heard if j in vectors]
        liars = [j for j in heard if j in byzantine]
        meeting = {j: vectors[j] for j in sorted([i, *honest])}
        rows = [vectors[i], *(vectors[j] for j in honest), *lie(i, meeting, liars)]
        order = [i, *honest, *liars]
        made[i] = rule(np.stack(rows), [weights[i, j] for j in order])
    return made


def dissensus(node, vectors, adjacency, byzantine, weights, factor):
    heard = [j for j in range(len(adjacency)) if adjacency[node][j]]
    pull = sum(weights[node, j] * (vectors[j] - vectors[node]) for j in heard if j not in byzantine)
    share = sum(weights[node, j] for j in heard if j in byzantine)
    return vectors[node] - factor * pull / share


def spectral_heterogeneity(node, vectors, fiedler, factor):
    """fiedler: {node: number}."""
    along = sum(fiedler[j] * vectors[j] for j in vectors)
    return vectors[node] + factor * fiedler[node] * along


def bridge_splitting(node, vectors, fiedler, factor):
    side = [j for j in vectors if (fiedler[j] >= 0) == (fiedler[node] >= 0)]
    other = [j for j in vectors if j not in side]
    means = [sum(vectors[j] for j in some) / len(some) for some in (side, other)]
    return vectors[node] + factor * (means[0] - means[1])


def deviation(rows):
    mean = sum(rows) / len(rows)
    return np.sqrt(sum((row - mean) ** 2 for row in rows) / (len(rows) - 1))
