"""Convolution by loops over the places of a kernel."""

import itertools

import numpy as np


def by_loops(images, kernel):
    """Without padding."""
    size = len(kernel)
    batch, height, width = images.shape[0], images.shape[1] - size + 1, images.shape[2] - size + 1
    result = np.zeros((batch, height, width, kernel.shape[-1]))
    for b, y, x in itertools.product(range(batch), range(height), range(width)):
        result[b, y, x] = np.einsum("ijc,ijcd->d", images[b, y : y + size, x : x + size], kernel)
    return result
