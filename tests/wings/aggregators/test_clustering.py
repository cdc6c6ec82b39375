"""Clipped clustering against SciPy's linkage, and its memory of norms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from simbyz.aggregators import (
    clipped_clustering,
    clipped_clustering_selection,
    remember_norms,
)
from tests.support.compiled import compiled, quick_jit

N, D = 12, 6
pytestmark = pytest.mark.slower


def two_groups(seed: int, few: int) -> np.ndarray:
    """Rows around two directions, `few` of them around the second."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(2, D))
    return directions[(np.arange(N) < few).astype(int)] + 0.9 * rng.normal(size=(N, D))


@pytest.mark.parametrize("linkage", ["average", "single"])
def test_the_clusters_are_scipy_s(linkage: str) -> None:
    select = quick_jit(lambda rows: clipped_clustering_selection(rows, 3, linkage=linkage))
    compared = 0
    for seed in range(30):
        rows = two_groups(seed, few=seed % 6)
        tree = hierarchy.linkage(pdist(rows, "cosine"), linkage)
        labels = hierarchy.fcluster(tree, 2, "maxclust")
        sizes = np.bincount(labels)[1:]
        if sizes[0] == sizes[1]:
            continue
        chosen = labels == 1 + np.argmax(sizes)
        np.testing.assert_allclose(select(rows), chosen / chosen.sum(), rtol=1e-6, err_msg=seed)
        compared += 1
    assert compared > 20


def test_what_all_rows_share_costs_no_digits() -> None:
    """Rows at angles of a thousandth: 1 - cos is a millionth, of which float32 holds one digit."""
    select = quick_jit(lambda rows: clipped_clustering_selection(rows, 3))
    num_split = 0
    for seed in range(10):
        rows = (two_groups(seed, few=4) + 1e3).astype(np.float32)
        with jax.enable_x64(True):
            expected = np.asarray(select(rows.astype(np.float64)))
        np.testing.assert_allclose(select(rows), expected, rtol=1e-6, err_msg=seed)
        num_split += np.sum(expected > 0) < N - 1
    assert num_split > 5


def test_a_row_of_nan_does_not_take_a_cluster_of_its_own() -> None:
    rows = two_groups(0, few=4).astype(np.float32)
    select = compiled(clipped_clustering_selection, f=3)
    alone = select(rows)
    beside = select(np.vstack([rows, np.full((1, D), np.nan)]))
    assert 0 < np.sum(np.asarray(alone) == 0) < N
    np.testing.assert_array_equal(beside, [*alone, 0])


def test_few_rows() -> None:
    rows = np.array([[3.0, 0.0], [0.0, -1.0]], np.float32)
    # Equal clusters of one row each: the first, clipped to the median norm, 2.
    rule = compiled(clipped_clustering, f=0)
    np.testing.assert_allclose(rule(rows), [2, 0], rtol=1e-6)
    np.testing.assert_allclose(rule(rows[:1]), [3, 0], rtol=1e-6)
    np.testing.assert_array_equal(rule(np.full((3, 2), np.nan)), [0, 0])


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_history_that_is_none() -> None:
    """Whole numbers would cut the norms that are added to them."""
    rows = two_groups(1, few=0)
    for bad in (np.zeros(2 * N, int), np.zeros((2, N))):
        with pytest.raises(ValueError, match="history must be norms"):
            remember_norms(bad, rows)
        with pytest.raises(ValueError, match="history must be norms"):
            clipped_clustering(rows, 0, history=bad)


def test_the_norms_are_clipped_to_the_median_of_all_so_far() -> None:
    first, second = two_groups(1, few=0), 10 * two_groups(2, few=0)
    history = jnp.full(2 * N, jnp.nan)
    history = remember_norms(history, first)
    np.testing.assert_allclose(history[N:], np.linalg.norm(first, axis=1), rtol=1e-6)
    assert np.isnan(history[:N]).all()

    both = np.median(np.linalg.norm(np.vstack([first, second]), axis=1))
    chosen = np.asarray(compiled(clipped_clustering_selection, f=0)(second))
    norms = np.linalg.norm(second, axis=1)
    expected = (chosen * np.minimum(1, both / norms)) @ second
    result = quick_jit(lambda rows, past: clipped_clustering(rows, 0, history=past))(
        second, history
    )
    np.testing.assert_allclose(result, expected, rtol=1e-5)

    # The oldest norms are forgotten first; a row that is not finite has an infinite norm.
    second[0, 0] = np.nan
    later = remember_norms(history, second)
    np.testing.assert_array_equal(later[:N], history[N:])
    assert later[N] == np.inf
