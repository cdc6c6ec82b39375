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
