"""The rules that try all subsets, once more, as float64 loops over all subsets.

As in `reference`: nothing is shared with the library, rows are workers, and a distance that is not
finite counts as +inf. Of equal subsets the first in lexicographic order wins.
"""

import itertools
import math

import numpy as np

from tests.reference.rules import average, squared_distance


def minimum_diameter_averaging(rows, f):
    return average_of(rows, minimum_diameter_subset(rows, f))


def minimum_variance_averaging(rows, f):
    return average_of(rows, minimum_variance_subset(rows, f))


def smea(rows, f):
    return average_of(rows, smea_subset(rows, f))


def minimum_diameter_subset(rows, f):
    return first_smallest(rows, f, diameter)


def minimum_variance_subset(rows, f):
    return first_smallest(rows, f, sum_of_squares)


def smea_subset(rows, f):
    return first_smallest(rows, f, top_eigenvalue)


def average_of(rows, subset):
    return average(np.array([rows[i] for i in subset]))


def first_smallest(rows, f, spread):
    n = len(rows)
    squares = squared_distances(rows)
    best, smallest = None, None
    for subset in itertools.combinations(range(n), n - f):
        value = spread(subset, rows, squares)
        if smallest is None or value < smallest:
            best, smallest = subset, value
    return best


def squared_distances(rows):
    n = len(rows)
    return [[squared_distance(rows[i], rows[j]) for j in range(n)] for i in range(n)]


def diameter(subset, rows, squares):
    largest = 0.0
    for i, j in itertools.combinations(subset, 2):
        largest = max(largest, squares[i][j])
    return largest


def sum_of_squares(subset, rows, squares):
    total = 0.0
    for i, j in itertools.combinations(subset, 2):
        total += squares[i][j]
    return total


def top_eigenvalue(subset, rows, squares):
    """Of the covariance of the subset, which has the other eigenvalues of its Gram matrix."""
    if math.isinf(diameter(subset, rows, squares)):
        return math.inf
    centered = rows[list(subset)] - average_of(rows, subset)
    return float(np.linalg.eigvalsh(centered @ centered.T)[-1]) / len(subset)
