"""The rules by coordinate where rows are many: some ranks are left unsorted, or a sort is used."""

import jax
import numpy as np
import pytest
import reference

from simbyz import aggregators
from simbyz.order_statistics import MAX_NETWORK_ROWS, MAX_ORDERED_ROWS


@pytest.mark.parametrize("n", [MAX_ORDERED_ROWS + 1, MAX_ORDERED_ROWS + 2, MAX_NETWORK_ROWS + 2])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("median", {}),
        ("median", {"midpoint": True}),
        ("trimmed_mean", {}),
        ("phocas", {}),
        ("meamed", {}),
        ("meamed", {"midpoint": True}),
    ],
)
def test_against_loops(n, name, options):
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, 3)).astype(np.float32)
    f = n // 5
    rows[:f] = np.array([np.nan, np.inf, -1e30], np.float32)
    rule = jax.jit(lambda rows: getattr(aggregators, name)(rows, f, **options))
    expected = getattr(reference, name)(rows.astype(float), f, **options)
    np.testing.assert_allclose(rule(rows), expected, rtol=1e-5, atol=1e-6)
