"""Rules that are given the distances of their rows, and a search that knows them along its line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.attacks.searched.adaptive import search_factor
from simbyz.attacks.searched.line_distances import distances_along
from simbyz.attacks.searched.line_search import bracketing

KEY = jax.random.key(0)
RULES = {
    "krum": (aggregators.krum, {}),
    "multi_krum": (aggregators.multi_krum, {"squared": False}),
    "bulyan": (aggregators.bulyan, {}),
    "bulyan, released": (aggregators.bulyan, {"variant": "released"}),
}


def squares_of(rows):
    return np.square(rows[:, None] - rows[None]).sum(axis=2)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_goes_by_the_distances_that_it_is_given(name):
    rule, options = RULES[name]
    rows, others = np.random.default_rng(3).normal(size=(2, 11, 6)).astype(np.float32)
    measured, known, foreign = (
        rule(rows, 2, **options, squared_distances=squares)
        for squares in (None, squares_of(rows), squares_of(others))
    )
    np.testing.assert_array_equal(known, measured)
    assert np.abs(foreign - measured).max() > 0.01


def test_distances_along_a_line():
    rng = np.random.default_rng(4)
    honest, begin, end = np.split(rng.normal(size=(9, 5)), [7, 8])
    with jax.enable_x64(True):
        along = distances_along(*map(jnp.asarray, (honest, begin, end)), 3)
        for t in (0.0, 0.3, 1.0, 7.0, 1e4):
            row = begin + t * (end - begin)
            expected = squares_of(np.concatenate([honest, row, row, row]))
            np.testing.assert_allclose(along(jnp.asarray(t)), expected, rtol=1e-10, atol=1e-12)


def test_a_row_that_is_not_finite_is_infinitely_far():
    honest = np.random.default_rng(4).normal(size=(7, 5)).astype(np.float32)
    honest[2, 1], honest[3] = np.nan, np.inf
    rows = jnp.asarray(honest)
    along = distances_along(rows, rows[:1], rows[1:2], 2)
    for t in (0.0, 1.0, 3.0):
        squares = np.array(along(jnp.asarray(t)))
        assert np.isinf(np.delete(squares[2:4], (2, 3), axis=1)).all()
        assert np.isfinite(np.delete(np.delete(squares, (2, 3), axis=0), (2, 3), axis=1)).all()


@pytest.mark.parametrize(
    "direction", ["little", pytest.param("empire", marks=pytest.mark.thorough)]
)
def test_bulyan_is_searched_alike_with_distances_and_without(direction):
    honest = np.random.default_rng(5).normal(0.5, 1, (9, 6))
    seen = []

    def rule(updates, f, *, squared_distances=None):
        seen.append(squared_distances)
        return aggregators.bulyan(
            updates, f, variant="released", squared_distances=squared_distances
        )

    def search(give_distances):
        return search_factor(
            KEY,
            honest,
            2,
            direction=direction,
            rule=rule,
            search=bracketing,
            give_distances=give_distances,
        )

    with jax.enable_x64(True):
        measured, given = search(False), search(True)
    assert seen[0] is None and seen[-1].shape == (11, 11)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), given, measured)


def test_what_is_refused(unchecked_shapes):
    rows = np.ones((11, 3), np.float32)
    with pytest.raises(ValueError, match=r"krum needs squared_distances of shape \(11, 11\), got"):
        aggregators.krum(rows, 2, squared_distances=np.ones((10, 10), np.float32))
    with pytest.raises(ValueError, match="or give_distances=True, got both"):
        attacks.adaptive("little", aggregators.krum, symmetry="rotations", give_distances=True)
    with pytest.raises(ValueError, match="needs a rule with a keyword squared_distances, as krum"):
        attacks.adaptive("little", aggregators.median, give_distances=True)
