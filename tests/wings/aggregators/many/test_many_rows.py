"""The rules by coordinate where rows are many: some ranks are left unsorted, or a sort is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz._arrays.order_statistics import MAX_NETWORK_ROWS, MAX_ORDERED_ROWS
from simbyz.aggregators import coordinate
from tests.reference import rules as reference

RULES = [
    ("median", {}),
    ("median", {"midpoint": True}),
    ("trimmed_mean", {}),
    ("phocas", {}),
    ("meamed", {}),
    ("meamed", {"midpoint": True}),
]


# Three coordinates are taken whole, eleven in pieces, of which the last two overlap.
@pytest.mark.parametrize(
    ("n", "d"),
    [
        (MAX_ORDERED_ROWS + 1, 11),
        (MAX_ORDERED_ROWS + 2, 3),
        (MAX_NETWORK_ROWS + 2, 3),
        (MAX_NETWORK_ROWS + 2, 11),
    ],
)
@pytest.mark.parametrize(("name", "options"), RULES)
def test_against_loops(n, d, name, options, monkeypatch):
    monkeypatch.setattr(coordinate, "PIECE", 4)
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, d)).astype(np.float32)
    f = n // 5
    rows[:f, :3] = np.array([np.nan, np.inf, -1e30], np.float32)
    rule = jax.jit(lambda rows: getattr(aggregators, name)(rows, f, **options))
    expected = getattr(reference, name)(rows.astype(float), f, **options)
    np.testing.assert_allclose(rule(rows), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), RULES)
def test_pieces_have_the_derivatives_and_lanes_of_the_whole(name, options, monkeypatch):
    # What compiles for half a minute at 65 rows is the same program at 9.
    monkeypatch.setattr(coordinate, "MAX_ORDERED_ROWS", 8)
    n, d = 9, 11
    stacks = np.random.default_rng(0).normal(size=(2, n, d)).astype(np.float32)

    def summed(rows):
        return jnp.sum(jnp.sin(getattr(aggregators, name)(rows, n // 5, **options)))

    found = []
    for piece in (d, 4):
        monkeypatch.setattr(coordinate, "PIECE", piece)
        found.append(jax.jit(jax.vmap(jax.value_and_grad(summed)))(stacks))
    for whole, in_pieces in zip(*found, strict=True):
        np.testing.assert_allclose(in_pieces, whole, rtol=1e-5, atol=1e-7)
    assert np.any(found[0][1])
