"""Runs computed again, against differences and spreads worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from experiments.distributed_momentum.analysis.again import compare
from experiments.distributed_momentum.write_up.again import section

T_OF_TWO = 4.302652729911275  # Student's t at 97.5 % with two degrees of freedom


@pytest.fixture
def tables():
    """Two configurations of three seeds; of one, two seeds again, of the other, one."""
    runs = pd.DataFrame(
        {
            "file": [f"{name}-{seed}" for name in "ab" for seed in (1, 2, 3)],
            "name": list("aaabbb"),
            "dataset": ["mnist"] * 3 + ["fashion_mnist"] * 3,
            "seed": [1, 2, 3] * 2,
            "highest_accuracy": [0.90, 0.92, 0.94, 0.5, 0.5, 0.5],
        }
    )
    again = runs.iloc[[4, 0, 2]].assign(highest_accuracy=[0.51, 0.90, 0.93])
    return runs, again


def test_differences_and_what_the_spread_allows(tables):
    both, configurations = compare(*tables)
    assert dict(zip(both["file"], both["difference"].round(12), strict=True)) == {
        "a-1": 0.0,
        "a-3": -0.01,
        "b-2": 0.01,
    }
    a, b = configurations.to_dict("records")
    assert (a["name"], a["runs"], b["name"], b["runs"]) == ("a", 2, "b", 1)
    np.testing.assert_allclose([a["difference"], b["difference"]], [-0.005, 0.01])
    # Of a, the deviation is 0.02 and there are two seeds: √(2 / 2) of it; of b it is 0.
    np.testing.assert_allclose([a["allowed"], b["allowed"]], [T_OF_TWO * 0.02, 0])


def test_the_section(tables):
    text = section(*tables)
    assert "3 of 6 runs, of 2 configurations with seeds 1, 2, 3, were" in text
    assert "| fashion_mnist | 1 | 0 | 0 | 0 | 1 | 1 | 1.00 | +1.000 |" in text
    assert "| all | 3 | 1 | 1 | 1 | 3 | 3 | 1.00 | +0.000 |" in text
    one = section(tables[0], tables[1][:1])
    assert "of 1 configurations with seed 2, were" in one and "| all |" not in one
    assert "in 1 of 2.\n\n- `b`: +1.00, allowed 0.00\n" in text


def test_no_run_of_the_table_gives_no_section(tables):
    runs, again = tables
    assert section(runs, again.assign(file="other")) == ""
