"""Non-finite values among many coordinates: XLA:CPU's maximum of thousands of values passes over
NaN, with few optimisations too, that of a few does not.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, preaggregators
from simbyz._arrays import geometry
from simbyz.simulator.metrics import no_past, study
from tests.reference import preaggregators as reference
from tests.support.compiled import quick_jit

N, F, D = 11, 2, 20_000
ROBUST = sorted(set(aggregators.AGGREGATORS) - {"average"})
OPTIONS = {
    "centered_clipping": {"radius": 10.0},
    "dnc": {"key": jax.random.key(0)},
    "fltrust": {"trusted": jnp.full(D, 0.05)},
}


@pytest.fixture(scope="module")
def rows():
    """(N, D), one coordinate of F rows not finite."""
    made = np.random.default_rng(0).normal(0.05, 0.1, (N, D)).astype(np.float32)
    made[3, 77], made[8, D - 5] = np.nan, np.inf
    return made


@pytest.mark.slower
@pytest.mark.parametrize(
    ("name", "options"), [("clipping", {"radius": 1.0}), ("adaptive_robust_clipping", {})]
)
def test_clipping_against_loops(name, options, rows):
    expected = getattr(reference, name)(rows.astype(float), F, **options)
    got = quick_jit(lambda rows: getattr(preaggregators, name)(rows, F, **options))(rows)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert not np.any(got[3]) and not np.any(got[8])


@pytest.mark.slower
@pytest.mark.parametrize("name", ROBUST)
def test_every_rule_stays_within_the_finite_rows(name, rows, monkeypatch):
    """Also by the way to a centre of more values, which makes another program of some rules."""
    rule, options = aggregators.AGGREGATORS[name], OPTIONS.get(name, {})
    good, programs = np.delete(rows, [3, 8], axis=0), set()
    for few_values in (geometry.FEW_VALUES, 0):
        monkeypatch.setattr(geometry, "FEW_VALUES", few_values)
        program = quick_jit(lambda rows: rule(rows, F, **options)).trace(rows)
        if str(program.jaxpr) not in programs:
            programs.add(str(program.jaxpr))
            result = np.asarray(program.lower().compile()(rows))
            assert np.all(np.abs(result) <= np.max(np.abs(good)))  # NaN fails the comparison
    assert len(programs) == 2 or name not in ("krum", "bulyan")


def test_largest_coordinate_of_an_attack_with_nan(rows):
    columns, _ = study(
        step=0,
        sampled=rows[:3],
        honest=rows[:3],
        attack=rows[3:5],
        aggregate=rows[0],
        past=no_past(D, None),
        momentum=0.9,
        weights=None,
    )
    assert np.isnan(columns["attack_largest"])
    np.testing.assert_allclose(columns["aggregate_largest"], np.max(np.abs(rows[0])))
