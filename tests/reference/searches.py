"""The searches of adaptive attacks once more, as plain float64 loops from their descriptions.

Nothing here is shared with the library. `function` takes and returns a Python float.
"""

import math

import numpy as np


def sequential(function, evaluations):
    """(best factor, all probes): expand from 0 while it pays, then contract around the best."""
    probes = [0.0]
    best, highest = 0.0, function(0.0)
    step, expanding, last = 1.0, True, 0.0
    while len(probes) < evaluations:
        if expanding:
            probe = best + step
        elif last < best:
            probe = last + step
        else:
            probe = last - step
            while probe < 0:
                probe = (probe + last) / 2
        value = function(probe)
        probes.append(probe)
        last = probe
        if value > highest:
            best, highest = probe, value
            step = step * 2 if expanding else step * 0.8
        else:
            expanding = False
            step = step * 0.8
    return best, probes


def bracketing(function, evaluations, grid=(1.0, 2.0, 4.0, 8.0)):
    """(best factor, all probes): a grid, then one probe left of the best and the others right."""
    probes = list(grid)
    values = [function(probe) for probe in grid]
    while len(probes) < evaluations:
        best = probes[values.index(max(values))]
        left = [probe for probe in probes if probe < best]
        right = [probe for probe in probes if probe > best]
        if right:
            new = [math.sqrt(max(left) * best) if left else best / 2]
            for i in range(1, len(grid)):
                new.append(best * (min(right) / best) ** (i / len(grid)))
        else:
            new = [best * 2**i for i in range(1, len(grid) + 1)]
        probes += new
        values += [function(probe) for probe in new]
    return probes[values.index(max(values))], probes


def looking_ahead(function, evaluations):
    """(best factor, all probes): a probe of `sequential`, both that may follow it, and a middle."""
    probes, values = [], []
    state, highest = None, -math.inf

    def following(state, better):
        """(best, last, step, expanding) after its next probe was better than the best, or not."""
        if state is None:
            return 0.0, 0.0, 1.0, True
        best, _, step, expanding = state
        expands = expanding and better
        probe = next_probe(state)
        return probe if better else best, probe, step * (2 if expands else 0.8), expands

    def next_probe(state):
        if state is None:
            return 0.0
        best, last, step, expanding = state
        if expanding or last < best:
            return (best if expanding else last) + step
        probe = last - step
        while probe < 0:
            probe = (probe + last) / 2
        return probe

    def middles():
        """Between the best and its neighbours, the farther one first."""
        best = probes[values.index(max(values))] if values else 0.0
        left = max((probe for probe in probes if probe < best), default=0.0)
        right = min((probe for probe in probes if probe > best), default=3 * best + 4)
        neighbours = sorted((right, left), key=lambda x: -abs(x - best))
        return [(best + neighbour) / 2 for neighbour in neighbours]

    for _ in range((evaluations + 1) // 2):
        options = [next_probe(following(state, better)) for better in (True, False)]
        wider, narrower = middles()
        third = narrower if options[0] == options[1] else options[1]
        new = [next_probe(state), options[0], third, wider]
        for _ in range(2):
            value = function(next_probe(state))
            better = state is None or value > highest
            state, highest = following(state, better), max(value, highest)
        probes += new
        values += [function(probe) for probe in new]
    return probes[values.index(max(values))], probes


def expand_then_shrink(function, evaluations):
    """ByzFL's (best factor, all probes): expand from 0 while it pays, then ever closer."""
    best, highest = 0.0, function(0.0)
    step, expanding, probes = 10.0, True, [0.0]
    while len(probes) < evaluations:
        probe = best + step
        probes.append(probe)
        value = function(probe)
        expanding = expanding and value > highest
        step *= 2 if expanding else 0.8
        if value > highest:
            best, highest = probe, value
    return best, probes


def damage(rule, honest, row, num_byzantine, f):
    """||rule(honest, num_byzantine times row) - honest mean||²."""
    rows = np.array([*honest, *[row] * num_byzantine])
    aggregate = rule(rows, f)
    mean = sum(honest) / len(honest)
    return float(sum((a - m) ** 2 for a, m in zip(aggregate, mean, strict=True)))
