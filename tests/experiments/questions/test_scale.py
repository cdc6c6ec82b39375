"""The plan: bounds hold where they can be tried, and the page says what is computed."""

import numpy as np
import pandas as pd
import pytest

from experiments.scale import limits
from experiments.scale.sharded import table
from simbyz import aggregators
from tests.support.compiled import compiled
from tests.support.paths import DOCS
from tests.support.printed import printed

PAGE = DOCS / "scale.md"


def test_help_names_the_other_command(capsys):
    with pytest.raises(SystemExit):
        limits.command(["--help"])
    assert "sharded" in capsys.readouterr().out


@pytest.mark.parametrize("make", limits.TABLES, ids=lambda make: make.__name__)
def test_the_page_holds_the_table(make) -> None:
    assert make() in PAGE.read_text(encoding="utf-8"), "python -m experiments.scale prints it"


@pytest.mark.slower
def test_a_sketch_keeps_distances() -> None:
    n, d, error = 30, 2000, 0.4
    m = limits.sketch_rows(n, error)
    assert m < d / 3
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(n, d)) * np.geomspace(0.1, 10, n)[:, None]
    sketches = rows @ generator.normal(size=(d, m)) / np.sqrt(m)

    def distances(stack: np.ndarray) -> np.ndarray:
        return np.array([((a - b) ** 2).sum() for i, a in enumerate(stack) for b in stack[:i]])

    ratios = distances(sketches) / distances(rows)
    assert 1 - error < ratios.min() < 1 - error / 8 and 1 + error / 8 < ratios.max() < 1 + error

    # Krum on sketches takes a row whose score is as good, but for (1 + ε) / (1 - ε).
    f = 8
    scores = np.array(
        [np.sort(((rows - row) ** 2).sum(axis=1))[1 : n - f - 1].sum() for row in rows]
    )
    weights = compiled(aggregators.SELECTIONS["krum"], f=f)(sketches.astype(np.float32))
    taken = scores[int(np.argmax(weights))]
    assert taken <= (1 + error) / (1 - error) * scores.min()


def test_a_sketch_is_as_small_as_it_may_be_said() -> None:
    """Against the bound written anew: failure of all pairs together, just below what is allowed."""
    for n, error in ((100, 0.1), (10**6, 0.3)):
        m = limits.sketch_rows(n, error)

        def failure(m: int, n=n, error=error) -> float:
            return n * (n - 1) / 2 * 2 * np.exp(-m / 4 * (error**2 - 2 / 3 * error**3))

        assert failure(m) <= 1e-3 < failure(m - 1)


def test_a_sample_keeps_ranks() -> None:
    n, d, error = 2001, 300, 0.1
    s = limits.sampled_workers(d, error)
    assert s < n / 2
    generator = np.random.default_rng(0)
    ranks = np.argsort(generator.random((n, d)), axis=0) / n  # of each worker, by coordinate
    middle = np.median(ranks[generator.integers(0, n, s)], axis=0)
    assert 0.03 < np.abs(middle - 0.5).max() < error


def test_seconds_of_a_step() -> None:
    """Distances of n = 1,000 workers on 10 devices: 2 n² d operations, two passes, n² twice."""
    n, d, devices = 1000, 10**6, 10
    (family,) = (family for family in limits.FAMILIES if family.name == "distance")
    expected = 2e12 / 150e9 / 10 + 2 * 4e9 / 15.606e9 / 10 + (4e8 + 8e6) / 50e9
    assert limits.seconds(family, n, d, devices) == pytest.approx(expected, rel=1e-3)
    assert limits.devices_for(10_000, 10**9) == 1000


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 "), (4000, "4 k"), (5.24e9, "5.2 G"), (262e12, "262 T"), (2e21, "2 Z"), (28, "28 ")],
)
def test_amounts(number: float, text: str) -> None:
    assert limits.amount(number) == text


def test_no_number_of_the_plan_is_broken() -> None:
    plan = {"rule": "geometric_median", "devices": 512, "state_gb": 0.00528, "peak_gb": 0.04136}
    plan |= {"all_gather": 1311744, "all_to_all": 335596032, "all_reduce": 1003631}
    assert "335,596,032" in printed(lambda out: out.print(table(pd.DataFrame([plan]))))
