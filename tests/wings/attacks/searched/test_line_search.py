"""Searches along a line: their descriptions, and the recorded ones of the paper's program."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simbyz.attacks.searched.line_search import bracketing, looking_ahead, sequential
from tests.reference import searches as reference_searches
from tests.support.compiled import quick_jit
from tests.support.paths import GOLDEN

VECTORS = GOLDEN / "vectors.json"

# By the names of the records: the same function for NumPy and for JAX.
FUNCTIONS = {
    "-(x-3)^2": lambda x, lib: -((x - 3) ** 2),
    "x": lambda x, lib: x,
    "-x": lambda x, lib: -x,
    "-(x-0.3)^2": lambda x, lib: -((x - 0.3) ** 2),
    "min(x,10)": lambda x, lib: lib.minimum(x, 10.0),
    "0": lambda x, lib: 0 * x,
    "-|x-100|": lambda x, lib: -abs(x - 100),
    "sin(3x)+0.1x": lambda x, lib: lib.sin(3 * x) + 0.1 * x,
}


def searching(search, evaluations, **options):
    """The number of a function -> its search, one program for all."""

    @quick_jit
    def program(number):
        branches = [functools.partial(function, lib=jnp) for function in FUNCTIONS.values()]
        chosen = functools.partial(jax.lax.switch, number, branches)
        return search(chosen, evaluations, jnp.float64, **options)

    return lambda name: jax.device_get(program(list(FUNCTIONS).index(name)))


@pytest.mark.slower
def test_sequential_makes_every_recorded_search():
    entries = [
        e for e in json.loads(VECTORS.read_text())["entries"] if e["kind"] == "line_maximize"
    ]
    assert len(entries) == 40
    # The first probes of a longer search are those of a shorter one.
    most = max(entry["params"]["evals"] for entry in entries)
    with jax.enable_x64(True):
        found = searching(sequential, most)
        for entry in entries:
            evaluations = entry["params"]["evals"]
            function = FUNCTIONS[entry["name"]]
            best, probes = reference_searches.sequential(
                functools.partial(function, lib=np), evaluations
            )
            got = found(entry["name"])
            assert probes == pytest.approx(entry["value"]["trace"], abs=1e-12)
            assert best == pytest.approx(entry["value"]["best"], abs=1e-12)
            tried = got.probes[:evaluations]
            np.testing.assert_allclose(tried, probes, rtol=1e-12, atol=1e-12)
            factor = tried[got.values[:evaluations].argmax()]
            np.testing.assert_allclose(factor, best, rtol=1e-12, atol=1e-12)
            if evaluations == most:
                assert got.factor == factor


@pytest.mark.slower
@pytest.mark.parametrize("at_once", [None, 1])
@pytest.mark.parametrize(("search", "evaluations"), [(bracketing, 16), (looking_ahead, 15)])
def test_searches_of_rounds_equal_their_descriptions(search, evaluations, at_once):
    reference = getattr(reference_searches, search.__name__)
    with jax.enable_x64(True):
        found = searching(search, evaluations, at_once=at_once)
        for name, function in FUNCTIONS.items():
            best, probes = reference(lambda x, of=function: float(of(x, np)), evaluations)
            got = found(name)
            np.testing.assert_allclose(got.probes, probes, rtol=1e-12, atol=1e-12, err_msg=name)
            np.testing.assert_allclose(got.factor, best, rtol=1e-12)
            values = [function(x, np) for x in probes]
            np.testing.assert_allclose(got.values, values, rtol=1e-9, atol=1e-12)


@functools.partial(jax.jit, static_argnames="search")
def searched(search, heights):
    """Searches a function of given heights from 0, 1, ... 9 on. It does not round, so that a value
    is the same wherever XLA computes it again.
    """

    def function(x):
        return heights[jnp.clip(x.astype(int), 0, 9)]

    return search(function, 12)


@pytest.mark.slower
@pytest.mark.parametrize("search", [sequential, bracketing, looking_ahead])
@settings(max_examples=50, deadline=None)
@given(
    heights=st.lists(
        st.floats(-1e3, 1e3, width=32, allow_subnormal=False), min_size=10, max_size=10
    )
)
def test_what_is_found_is_the_best_of_what_was_tried(search, heights):
    found = searched(search, jnp.asarray(heights, jnp.float32))
    values = np.asarray(found.values)
    assert float(found.value) == values.max()
    assert float(found.factor) == np.asarray(found.probes)[values.argmax()]
    assert np.all(np.asarray(found.probes) >= 0)
    if search is bracketing:
        assert float(found.value) >= max(heights[1], heights[2], heights[4], heights[8])
    if search is looking_ahead:
        assert len(values) == 24
        contained = np.asarray(searched(sequential, jnp.asarray(heights, jnp.float32)).probes)
        assert np.isin(contained, found.probes).all()


@pytest.mark.slower
@pytest.mark.parametrize("search", [sequential, bracketing, looking_ahead])
def test_nan_never_wins(search):
    found = search(lambda x: jnp.where(x > 2, jnp.nan, x), 8)
    assert 1 <= float(found.factor) <= 2
    assert float(found.value) == float(found.factor)
    # Nor where it is the first.
    found = search(lambda x: jnp.where(x < 1, jnp.nan, -x), 8)
    assert 1 <= float(found.factor) < 1.5
    assert float(found.value) == -float(found.factor)


def test_a_cliff_is_approached_from_below():
    """A function as of a rule that drops the attackers beyond some factor."""
    for edge in (1.3, 2.9, 5.7, 100.0):
        found = bracketing(lambda x, edge=edge: jnp.where(x <= edge, x, 0), 16)
        assert 0.95 * edge <= float(found.factor) <= edge or edge == 100.0
        assert float(found.factor) >= 0.9 * edge


@pytest.mark.slower
def test_it_works_under_vmap():
    edges = jnp.asarray([1.5, 3.0, 6.0])
    for search in (sequential, bracketing, looking_ahead):
        alone = jax.jit(lambda e, s=search: s(lambda x: -jnp.abs(x - e), 12).probes)
        swept = jax.jit(jax.vmap(alone))(edges)
        for i, edge in enumerate(edges):
            np.testing.assert_allclose(swept[i], alone(edge), rtol=1e-6)


def test_numbers_that_do_not_fit():
    for search in (sequential, bracketing, looking_ahead):
        with pytest.raises(ValueError, match="evaluations >= 1, got 0"):
            search(lambda x: x, 0)
    for options in ({"evaluations": 10}, {"grid": (1.0,)}, {"grid": (0.0, 1.0)}):
        with pytest.raises(ValueError, match="a grid of two or more positive factors"):
            bracketing(lambda x: x, **{"evaluations": 16} | options)
    assert math.isfinite(float(sequential(lambda x: x, 1).value))
