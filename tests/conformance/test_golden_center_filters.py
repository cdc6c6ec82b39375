"""The rules of center.py, filters.py and spectral.py against answers of the paper's program (bm)
and of ByzFL. As in test_golden_vectors.py, the references must give them all too.
"""

import functools
from collections import Counter

import jax
import numpy as np
import pytest

from simbyz import aggregators
from tests.conformance.golden import (
    TOLERANCE,
    Case,
    answer,
    assert_no_disagreement,
    attack_and_options,
    recorded,
    together,
)
from tests.reference import attacks as slow_attacks
from tests.reference import center_filters as slow
from tests.support.compiled import compiled, quick_jit

pytestmark = pytest.mark.slower
DTYPES = ["float64", pytest.param("float32", marks=pytest.mark.thorough)]
# Compiling takes as long for each number of rows: in single precision that of most cases is enough.
ROWS = {"float64": range(1, 52), "float32": [11]}


def rule_and_options(name: str, params: dict) -> tuple[str, dict] | None:
    if name == "aksel":
        return "aksel", {"mode": params["mode"]}
    if name == "cge":
        return "cge", {}
    if name == "MoNNA":
        return "monna", {"index": params["idx"]}
    if name == "GeometricMedian":
        return "geometric_median", {"smoothing": params["nu"], "iterations": params["T"]}
    if name == "CenteredClipping":
        return "centered_clipping", {"radius": params["tau"], "iterations": params["L"]}
    return None


@functools.cache
def rule_cases() -> list[Case]:
    entries, arrays = recorded()
    cases = []
    for entry in entries:
        ours = rule_and_options(entry["name"], entry["params"]) if entry["kind"] == "gar" else None
        if ours is not None:
            label = f"{entry['library']} {entry['name']} {entry['params']} on {entry['input']}"
            f = entry["params"].get("f", 0)
            cases.append(
                Case(label, ours[0], f, ours[1], arrays[entry["input"]], answer(entry), entry)
            )
    return cases


def why_undetermined(case: Case) -> str | None:
    entry = case.entry
    if case.rule == "aksel" and np.any(np.isnan(case.rows)):
        return "the program's median is NaN, and so is every distance to it"
    if entry["library"].startswith("byzfl") and entry["nonfinite_input"]:
        return "ByzFL does not say what it does with rows that are not finite"
    if case.rule == "monna" and case.f > 0:
        apart = case.rows - case.rows[case.options["index"]]
        ordered = np.sort(np.sum(np.square(apart), axis=1))
        last, next_ = ordered[len(ordered) - case.f - 1], ordered[len(ordered) - case.f]
        if next_ - last <= 1e-12 * next_ and next_ > 0:
            return "ByzFL keeps, of equally far rows, those that argpartition leaves"
    return None


@functools.cache
def compared_cases() -> list[Case]:
    return [case for case in rule_cases() if why_undetermined(case) is None]


def test_what_is_compared_and_what_is_not() -> None:
    """Counts, so that no exclusion grows silently."""
    assert Counter(case.rule for case in rule_cases()) == {
        "aksel": 144,
        "cge": 72,
        "monna": 130,
        "geometric_median": 45,
        "centered_clipping": 45,
    }
    excluded = Counter(
        (case.rule, why_undetermined(case)) for case in rule_cases() if why_undetermined(case)
    )
    assert excluded == {
        ("aksel", "the program's median is NaN, and so is every distance to it"): 32,
        ("monna", "ByzFL keeps, of equally far rows, those that argpartition leaves"): 3,
        ("monna", "ByzFL does not say what it does with rows that are not finite"): 20,
        ("geometric_median", "ByzFL does not say what it does with rows that are not finite"): 6,
        ("centered_clipping", "ByzFL does not say what it does with rows that are not finite"): 6,
    }
    assert Counter(case.rule for case in compared_cases()) == {
        "aksel": 112,
        "cge": 72,
        "monna": 107,
        "geometric_median": 39,
        "centered_clipping": 39,
    }


def test_references_give_every_recorded_answer() -> None:
    cases = compared_cases()
    with np.errstate(invalid="ignore"):
        results = [getattr(slow, c.rule)(c.rows, c.f, **c.options) for c in cases]
    assert_no_disagreement(cases, results, 1e-9)


@pytest.mark.parametrize("rule", ["aksel", "cge", "monna", "geometric_median", "centered_clipping"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rules_give_every_recorded_answer(rule: str, dtype: str) -> None:
    cases = [c for c in compared_cases() if c.rule == rule and len(c.rows) in ROWS[dtype]]
    with jax.enable_x64(dtype == "float64"):
        for n in sorted({len(case.rows) for case in cases}):
            same_size = [case for case in cases if len(case.rows) == n]
            results = (by_length if rule in LENGTHS else together)(same_size, dtype)
            assert_no_disagreement(same_size, results, TOLERANCE[dtype])


LENGTHS = {"geometric_median": "smoothing", "centered_clipping": "radius"}


def by_length(cases: list[Case], dtype: str) -> list[np.ndarray]:
    """As `together`, where an option is an argument, so that its values share a program."""
    longest, results = max(case.rows.shape[1] for case in cases), []
    for case in cases:
        options = dict(case.options)
        length = {LENGTHS[case.rule]: options.pop(LENGTHS[case.rule])}
        d = case.rows.shape[1]
        padded = np.pad(case.rows.astype(dtype), ((0, 0), (0, longest - d)))
        result = compiled(getattr(aggregators, case.rule), f=case.f, **options)(padded, **length)
        assert result.dtype == dtype
        results.append(np.asarray(result)[:d])
    return results


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_kept_center_gives_every_recorded_answer(dtype: str) -> None:
    """ByzFL keeps the last centre itself; here it is handed back."""
    entries, arrays = recorded()
    calls = [entry for entry in entries if entry["kind"] == "gar-stateful"]
    assert [entry["params"]["call"] for entry in calls] == [0, 1, 2, 0, 1, 2]
    center = None
    with jax.enable_x64(dtype == "float64"):
        for entry in calls:
            if entry["params"]["call"] == 0:
                center = np.zeros(5, dtype)
            rows = arrays[entry["input"]]
            _, options = rule_and_options(entry["name"], entry["params"])
            clip = functools.partial(aggregators.centered_clipping, **options)
            center = quick_jit(clip)(rows.astype(dtype), center=center)
            error = np.max(np.abs(center - answer(entry)))
            assert error <= TOLERANCE[dtype] * np.max(np.abs(rows)), entry["params"]


def caf_entries() -> list[dict]:
    return [e for e in recorded()[0] if e["kind"] == "gar" and e["name"] == "CAF"]


def test_byzfls_caf_is_the_reference_with_one_power_step() -> None:
    """Its 20 answers depend on random directions, which were recorded: it takes one power step from
    each in place of the eigenvector, and the largest τ of all rows. The rest is the reference's.
    """
    arrays = recorded()[1]
    assert len(caf_entries()) == 20
    for entry in caf_entries():
        draws = iter(np.atleast_2d(arrays[entry["draws"]]))

        def power_step(covariance: np.ndarray, draws=draws) -> tuple[float, np.ndarray]:
            start = next(draws)
            image = covariance @ (start / np.linalg.norm(start))
            return np.linalg.norm(image), image / np.linalg.norm(image)

        rows, f = arrays[entry["input"]], entry["params"]["f"]
        result = slow.caf(rows, f, power_step, only_weighted=False)
        assert np.max(np.abs(result - answer(entry))) <= 1e-9 * np.max(np.abs(rows)), entry
        assert next(draws, None) is None


def test_caf_on_byzfls_inputs_is_the_reference() -> None:
    """Not ByzFL's answers, which the definition does not determine: see above."""
    arrays = recorded()[1]
    # The largest f of each input: every other one compiles again.
    largest = {entry["input"]: entry["params"]["f"] for entry in caf_entries()}
    with jax.enable_x64(True):
        for name, f in largest.items():
            result = compiled(aggregators.caf, f=f)(arrays[name])
            np.testing.assert_allclose(result, slow.caf(arrays[name], f), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rule", ["aksel", "cge"])
def test_selections_give_the_programs_acceptance_ratio(rule: str) -> None:
    """The share of attackers among the rows that it averaged."""
    entries, arrays = recorded()
    found = [e for e in entries if e["kind"] == "influence" and e["name"] == rule]
    assert len(found) == 24
    with jax.enable_x64(True):
        for entry in found:
            params = entry["params"]
            honest, f = arrays[entry["input"]][: params["honests"]], params["f"]
            attack, options = attack_and_options(params["attack"], params["attack_args"])
            forged = getattr(slow_attacks, attack)(honest, f, **options)
            rows = np.concatenate([honest, np.broadcast_to(forged, (f, honest.shape[1]))])
            weights = compiled(getattr(aggregators, f"{rule}_selection"), f=f)(rows)
            assert np.sum(weights[-f:]) == pytest.approx(entry["value"], rel=1e-6), entry
