"""Attacks whose factor ByzFL searched, against its records: every probe, and what was sent.

Its search is `expand_then_shrink`; the paper's program has another (test_adaptive.py).
"""

import functools
import json
from collections import Counter

import jax
import numpy as np
import pytest

from experiments.byzfl_conformance.search import expand_then_shrink
from simbyz import aggregators, preaggregators
from simbyz.attacks.searched.adaptive import search_factor
from tests.reference import attacks as reference_attacks
from tests.reference import center_filters as reference_center_filters
from tests.reference import preaggregators as reference_preaggregators
from tests.reference import rules as reference
from tests.reference import searches as reference_searches
from tests.support.compiled import quick_jit
from tests.support.paths import GOLDEN

PADDED = 20  # zeros beside the coordinates change nothing, and one program serves all


@functools.cache
def recorded():
    entries = json.loads((GOLDEN / "vectors.json").read_text())["entries"]
    with np.load(GOLDEN / "vectors.npz") as arrays:
        arrays = dict(arrays)
    searches = [e for e in entries if e["kind"] == "attack-search" and e["library"] != "bm"]
    return searches, arrays


def entries_of_size(least, most):
    compared = [entry for entry in recorded()[0] if not is_decided_by_rounding(entry)]
    return [e for e in compared if least <= e["params"]["honests"] + e["params"]["f"] <= most]


def honest_of(entry):
    return recorded()[1][entry["input"]][: entry["params"]["honests"]]


def ray_of(entry):
    """(start, direction): ByzFL probes start + x · direction."""
    honest = honest_of(entry)
    mean = reference.average(honest)
    if entry["name"] == "Optimal_InnerProductManipulation":
        return np.zeros_like(mean), -mean
    return mean, reference_attacks.deviation(honest)


def defence(params, rules, middle):
    """(rows) -> aggregate, of the rules here or of the references."""
    f, n = params["f"], params["honests"] + params["f"]
    rule = {
        "Average": lambda rows: rules["average"](rows),
        "Median": lambda rows: rules["median"](rows, midpoint=True),
        "TrMean": lambda rows: rules["trimmed_mean"](rows, f),
        "Meamed": lambda rows: rules["meamed"](rows, f, midpoint=True),
        "Krum": lambda rows: rules["krum"](rows, f, neighbours=n - f - 1),
        "MultiKrum": lambda rows: rules["multi_krum"](rows, f, m=n - f, neighbours=n - f - 1),
        "GeometricMedian": lambda rows: rules["geometric_median"](
            rows, smoothing=0.1, iterations=3, start="zeros"
        ),
    }[params["agg"]]

    def aggregate(rows):
        for name, value in params["pre_agg"]:
            if name == "Clipping":
                rows = middle.clipping(rows, radius=value)
            elif name == "NNM":
                rows = middle.nearest_neighbor_mixing(rows, value)
            else:
                assert name == "ARC"
                rows = middle.adaptive_robust_clipping(rows, value)
        return rule(rows)

    return aggregate


REFERENCES = {
    name: getattr(reference, name)
    for name in ("average", "median", "trimmed_mean", "meamed", "krum", "multi_krum")
} | {"geometric_median": reference_center_filters.geometric_median}


def assert_search(entry, factor, probes):
    np.testing.assert_allclose(probes, entry["tau_trace"], rtol=1e-9, err_msg=str(entry))
    start, direction = ray_of(entry)
    offset, shape = entry["output"]
    row = recorded()[1]["outputs"][offset : offset + int(np.prod(shape))]
    scale = max(1.0, np.abs(row).max())
    np.testing.assert_allclose(start + factor * direction, row, rtol=0, atol=1e-9 * scale)


def assert_reference_searches(entries):
    for entry in entries:
        params, honest = entry["params"], honest_of(entry)
        start, direction = ray_of(entry)
        aggregate = defence(params, REFERENCES, reference_preaggregators)

        def function(x, honest=honest, start=start, ray=direction, rule=aggregate, f=params["f"]):
            return reference_searches.damage(lambda r, _: rule(r), honest, start + x * ray, f, f)

        assert_search(entry, *reference_searches.expand_then_shrink(function, params["evals"]))


def is_decided_by_rounding(entry):
    """Whether all but small factors send the same row once it is clipped, but for rounding."""
    clipped = any(name in ("Clipping", "ARC") for name, _ in entry["params"]["pre_agg"])
    return clipped and entry["name"] == "Optimal_InnerProductManipulation"


def is_refused(params):
    """ByzFL lets Krum run without its guarantee; ours wants n >= 2f + 3."""
    return "Krum" in params["agg"] and params["honests"] < params["f"] + 3


def assert_our_searches(entries):
    programs = {}
    with jax.enable_x64(True):
        for entry in entries:
            params, honest = entry["params"], honest_of(entry)
            start, direction = ray_of(entry)
            pad = PADDED - honest.shape[1]
            key = (params["agg"], str(params["pre_agg"]), len(honest), params["f"])
            if key not in programs:
                programs[key] = quick_jit(functools.partial(our_search, params))
            found = programs[key](
                np.pad(honest, ((0, 0), (0, pad))),
                np.pad(start, (0, pad)),
                np.pad(direction, (0, pad)),
            )
            # The first probes of a longer search are those of a shorter one.
            count = params["evals"]
            best = np.asarray(found.values)[:count].argmax()
            probes = np.asarray(found.probes)[:count]
            assert_search(entry, probes[best], probes)


def our_search(params, honest, start, direction):
    aggregate = defence(params, vars(aggregators), preaggregators)

    def along(key, honest, num_byzantine, *, factor):
        row = start + factor * direction
        return jax.numpy.broadcast_to(row, (num_byzantine, *row.shape))

    return search_factor(
        jax.random.key(0),
        honest,
        params["f"],
        direction=along,
        rule=lambda rows, f: aggregate(rows),
        evaluations=20,
        search=expand_then_shrink,
    )


def test_what_is_compared():
    names = Counter(entry["name"] for entry in recorded()[0])
    assert names == {"Optimal_InnerProductManipulation": 108, "Optimal_ALittleIsEnough": 108}
    assert sum(map(is_decided_by_rounding, recorded()[0])) == 24
    assert sum(is_refused(entry["params"]) for entry in recorded()[0]) == 8


def test_reference_makes_every_recorded_search_of_few_rows():
    entries = entries_of_size(0, 7)
    assert len(entries) == 32
    assert_reference_searches(entries)


@pytest.mark.slower
def test_recorded_searches_of_few_rows():
    entries = [e for e in entries_of_size(0, 7) if e["params"]["agg"] in ("Median", "Krum")]
    assert len(entries) == 6
    assert_our_searches(entries)


@pytest.mark.slower
def test_every_other_recorded_search():
    assert_reference_searches(entries_of_size(8, 25))
    assert_our_searches([e for e in entries_of_size(8, 51) if not is_refused(e["params"])])
