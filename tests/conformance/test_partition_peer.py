"""Partitions beside ByzFL's, where it is installed: the same class histograms."""

import functools
import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from simbyz.data import partition
from simbyz.data.partition import class_counts

pytestmark = pytest.mark.thorough

FOUND = importlib.util.find_spec("byzfl")
if FOUND is None or importlib.util.find_spec("torch") is None:
    pytest.skip("needs ByzFL and torch, pip install '.[peers]'", allow_module_level=True)

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [40, 60, 50, 30, 60]))
N = 6  # divides the 240 labels


@functools.cache
def distributor():
    """ByzFL's class alone: importing all of ByzFL asks for torchvision, which this does not."""
    path = Path(FOUND.origin).parent / "fed_framework" / "data_distributor.py"
    spec = importlib.util.spec_from_file_location("data_distributor", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Split(module.DataDistributor):
        def idx_to_dataloaders(self, split_idx):  # its loaders refuse a worker without examples
            return split_idx

    return Split


def byzfl(name, parameter, labels, n=N):
    """The class histogram (n, C) of each worker in ByzFL's partition."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    targets = torch.as_tensor(labels)
    dataset = TensorDataset(targets)
    dataset.targets = targets
    split = distributor()(
        {
            "data_distribution_name": name,
            "distribution_parameter": parameter,
            "nb_honest": n,
            "data_loader": DataLoader(dataset),
            "batch_size": 10,
        }
    ).split_data()
    held = [labels[np.asarray(some, int)] for some in split]
    return np.array([np.bincount(some, minlength=labels.max() + 1) for some in held])


def ours(scheme, seed=0):
    return class_counts(scheme(jax.random.key(seed), LABELS, N), LABELS)[0]


@pytest.mark.parametrize("n", [1, 4, 6, 7])
def test_extreme_is_the_same(n):
    made = partition.extreme(jax.random.key(0), LABELS, n)
    np.testing.assert_array_equal(
        class_counts(made, LABELS)[0], byzfl("extreme_niid", 0.0, LABELS, n)
    )


@pytest.mark.parametrize("gamma", [0.0, 0.25, 0.5, 0.8, 1.0])
def test_gamma_similarity_sorts_alike_what_is_not_shared_at_random(gamma):
    """ByzFL takes the first examples to share at random: here the file starts with ours."""
    made = partition.gamma_similarity(jax.random.key(1), LABELS, N, gamma=gamma)
    random = int(gamma * len(LABELS)) // N
    first, rest = made.indices[:, :random].ravel(), made.indices[:, random:].ravel()
    order = np.concatenate([first, np.sort(rest)])
    theirs = byzfl("gamma_similarity_niid", gamma, LABELS[order])
    # Both parts together differ by who got what at random; the sorted parts alone do not at all.
    sorted_part = byzfl("extreme_niid", 0.0, LABELS[np.sort(rest)]) if len(rest) else 0 * theirs
    by_label = [np.bincount(LABELS[row[random:]], minlength=5) for row in made.indices]
    np.testing.assert_array_equal(by_label, sorted_part)
    table = class_counts(made, LABELS)[0]
    np.testing.assert_array_equal(table.sum(axis=0), theirs.sum(axis=0))
    np.testing.assert_array_equal(table.sum(axis=1), theirs.sum(axis=1))
    assert np.all(theirs >= sorted_part)


def test_gamma_similarity_in_distribution():
    draws = 200
    scheme = functools.partial(partition.gamma_similarity, gamma=0.5)
    mine = np.array([ours(scheme, seed) for seed in range(draws)])
    rng = np.random.default_rng(0)
    theirs = np.array(
        [byzfl("gamma_similarity_niid", 0.5, rng.permutation(LABELS)) for _ in range(draws)]
    )
    error = np.sqrt((mine.var(axis=0) + theirs.var(axis=0)) / draws)
    assert np.all(np.abs(mine.mean(axis=0) - theirs.mean(axis=0)) <= 4.5 * error + 1e-9)
    assert mine.std(axis=0).sum() == pytest.approx(theirs.std(axis=0).sum(), rel=0.1)


def test_dirichlet_cuts_alike_in_the_same_proportions(monkeypatch):
    """ByzFL with our proportions: the same table, where nobody falls short of the minimum."""
    drawn = []

    class Recorder:
        def __init__(self, seed):
            self.generator = generator(seed)

        def __getattr__(self, name):
            return getattr(self.generator, name)

        def dirichlet(self, alpha):
            drawn.append(self.generator.dirichlet(alpha))
            return drawn[-1]

    generator = np.random.default_rng
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "default_rng", Recorder)
        mine = ours(functools.partial(partition.dirichlet, alpha=0.8))
    assert mine.sum(axis=1).min() > 1
    monkeypatch.setattr(np.random, "dirichlet", lambda alpha, size: np.array(drawn))
    np.testing.assert_array_equal(mine, byzfl("dirichlet_niid", 0.8, LABELS))


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_dirichlet_in_distribution(alpha):
    from scipy.stats import ks_2samp

    draws = 400
    mine = [ours(functools.partial(partition.dirichlet, alpha=alpha), s) for s in range(draws)]
    np.random.seed(0)
    theirs = [byzfl("dirichlet_niid", alpha, LABELS) for _ in range(draws)]
    for label in range(5):
        one = [table[seed % N, label] for seed, table in enumerate(mine)]
        other = [table[seed % N, label] for seed, table in enumerate(theirs)]
        assert ks_2samp(one, other).pvalue > 1e-3
    sizes = [np.sort(np.sum(tables, axis=2), axis=1).mean(axis=0) for tables in (mine, theirs)]
    # Mean sizes by rank; a worker that ByzFL leaves empty gets one example here.
    np.testing.assert_allclose(*sizes, rtol=0.08, atol=2)
