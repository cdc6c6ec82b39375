"""The variance-norm bounds against the paper's program and against the formula as Krum's authors
write it.
"""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simbyz.theory import VARIANCE_NORM_BOUNDS, krum_bound
from tests.support.paths import GOLDEN

RECORDED = GOLDEN / "vectors.json"


@pytest.mark.slower
def test_bounds_of_the_papers_program():
    entries = [e for e in json.loads(RECORDED.read_text())["entries"] if e["kind"] == "upper_bound"]
    assert len(entries) == 25
    for entry in entries:
        rule = {"brute": "minimum_diameter_averaging"}.get(entry["name"], entry["name"])
        n, f = entry["params"]["n"], entry["params"]["f"]
        assert VARIANCE_NORM_BOUNDS[rule](n, f) == pytest.approx(entry["value"], rel=1e-14), entry


@given(f=st.integers(0, 40), more=st.integers(3, 40))
def test_krums_bound_is_one_over_its_authors_eta(f, more):
    n = 2 * f + more
    eta_squared = 2 * (n - f + (f * (n - f - 2) + f * f * (n - f - 1)) / (n - 2 * f - 2))
    assert krum_bound(n, f) == pytest.approx(1 / math.sqrt(eta_squared), rel=1e-12)


@given(f=st.integers(1, 20), more=st.integers(3, 40))
def test_more_attackers_leave_a_stricter_krum_and_diameter_bound(f, more):
    n = 2 * f + more
    for rule in ("krum", "minimum_diameter_averaging"):
        bound = VARIANCE_NORM_BOUNDS[rule]
        assert bound(n, f) < bound(n, f - 1)


@pytest.mark.parametrize(
    ("rule", "n", "f"),
    [
        ("krum", 10, 4),
        ("multi_krum", 10, 4),
        ("bulyan", 10, 2),
        ("median", 8, 4),
        ("minimum_diameter_averaging", 8, 4),
    ],
)
def test_too_many_attackers_are_refused(rule, n, f):
    assert VARIANCE_NORM_BOUNDS[rule](n + 1, f) > 0
    with pytest.raises(ValueError, match=f"got n={n}, f={f}"):
        VARIANCE_NORM_BOUNDS[rule](n, f)
