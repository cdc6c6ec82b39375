"""Rules against recorded answers of the paper's program (bm) and of ByzFL.

The records lie in `tests/golden`. `tests/reference/rules.py` must give them all too: that is what
makes it a reference.
"""

import functools
from collections import Counter
from collections.abc import Collection

import jax
import numpy as np
import pytest

from simbyz import aggregators
from tests.conformance.golden import (
    TOLERANCE,
    Case,
    answer,
    assert_no_disagreement,
    determined_coordinates,
    recorded,
    together,
)
from tests.reference import rules as reference
from tests.support.compiled import quick_jit

# Every answer is compared in double precision. In single precision compiling for many rows takes as
# long as all others: those of few rows, and with all optimisations of two numbers, are enough.
FEW_ROWS, MOST_ROWS, WITH_ALL_OPTIMISATIONS = 11, 51, (11, 25)


def rule_and_options(library: str, name: str, n: int, params: dict) -> tuple[str, dict] | None:
    """Which of our rules, with which conventions, theirs is; None if it is not among those here."""
    f = params.get("f", 0)
    given_m = {"m": params["m"]} if "m" in params else {}
    if library == "bm":
        return {
            "average": ("average", {}),
            "median": ("median", {}),
            "trmean": ("trimmed_mean", {}),
            "phocas": ("phocas", {}),
            "meamed": ("meamed", {}),
            "krum": ("multi_krum", {"neighbours": n - f - 1, "squared": False, **given_m}),
            "bulyan": ("bulyan", {"variant": "released", **given_m}),
        }.get(name)
    return {
        "Average": ("average", {}),
        "Median": ("median", {"midpoint": True}),
        "TrMean": ("trimmed_mean", {}),
        "Meamed": ("meamed", {"midpoint": True}),
        "Krum": ("krum", {"neighbours": n - f - 1}),
        "MultiKrum": ("multi_krum", {"neighbours": n - f - 1, "m": n - f}),
    }.get(name)


@functools.cache
def rule_cases() -> list[Case]:
    entries, arrays = recorded()
    cases = []
    for entry in entries:
        if entry["kind"] != "gar":
            continue
        rows = arrays[entry["input"]]
        ours = rule_and_options(entry["library"], entry["name"], len(rows), entry["params"])
        if ours is not None:
            rule, options = ours
            label = f"{entry['library']} {entry['name']} {entry['params']} on {entry['input']}"
            f = entry["params"].get("f", 0)
            cases.append(Case(label, rule, f, options, rows, answer(entry), entry))
    return cases


def why_undetermined(case: Case) -> str | None:
    """The reason why the definition does not determine this answer, if it does not."""
    entry = case.entry
    if entry.get("topk_tie"):
        return "two values are equally far from the centre, and the program keeps either"
    if entry.get("maybe_tie"):
        return "the released Bulyan chooses between equals, and the program takes either"
    if entry["library"].startswith("byzfl"):
        if entry["name"] == "Meamed" and "ties" in entry["input"] and case.f > 0:
            return "ByzFL keeps, of equally far values, those that argpartition leaves"
        if entry["nonfinite_input"]:
            return "ByzFL does not say what it does with rows that are not finite"
    return None


def is_refused(case: Case) -> bool:
    """ByzFL lets Krum run without its guarantee; ours wants n >= 2f + 3."""
    return case.rule in ("krum", "multi_krum") and len(case.rows) < 2 * case.f + 3


@functools.cache
def compared_cases() -> list[Case]:
    return [c for c in rule_cases() if why_undetermined(c) is None and not is_refused(c)]


def test_what_is_compared_and_what_is_not() -> None:
    """Counts, so that no exclusion grows silently."""
    cases = rule_cases()
    assert len(cases) == 816
    reasons = Counter(why_undetermined(case) for case in cases)
    reasons.pop(None)
    assert reasons == {
        "two values are equally far from the centre, and the program keeps either": 13,
        "the released Bulyan chooses between equals, and the program takes either": 24,
        "ByzFL keeps, of equally far values, those that argpartition leaves": 16,
        "ByzFL does not say what it does with rows that are not finite": 44,
    }
    refused = [c for c in cases if is_refused(c) and why_undetermined(c) is None]
    assert Counter(case.entry["name"] for case in refused) == {"Krum": 10, "MultiKrum": 10}
    assert len(compared_cases()) == 816 - 97 - 20
    in_float32 = [c for c in compared_cases() if len(c.rows) <= FEW_ROWS]
    assert len(in_float32) == 422
    # Of the compared ones: single coordinates that the program's median turned into NaN.
    hidden = [case for case in compared_cases() if not np.all(determined_coordinates(case))]
    assert Counter(case.rule for case in hidden) == {"median": 4, "meamed": 16}
    assert sum(int(np.sum(~determined_coordinates(case))) for case in hidden) == 90


def test_the_programs_median_is_nan_where_a_row_is() -> None:
    for case in compared_cases():
        if case.entry["library"] == "bm" and case.rule == "median":
            assert np.all(np.isnan(case.expected[~determined_coordinates(case)])), case.label


def test_reference_gives_every_recorded_answer() -> None:
    cases = compared_cases()
    with np.errstate(invalid="ignore"):
        results = [getattr(reference, c.rule)(c.rows, c.f, **c.options) for c in cases]
    assert_no_disagreement(cases, results, 1e-9)


RULES_BY_NAME = [
    "average",
    "median",
    "trimmed_mean",
    "phocas",
    "meamed",
    "krum",
    "multi_krum",
    "bulyan",
]


@pytest.mark.parametrize("rule", RULES_BY_NAME)
@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [
        pytest.param("float64", range(1, MOST_ROWS + 1), marks=pytest.mark.slower, id="double"),
        pytest.param("float32", range(1, FEW_ROWS + 1), id="single"),
        pytest.param("float32", WITH_ALL_OPTIMISATIONS, marks=pytest.mark.thorough, id="float32"),
    ],
)
def test_rules_give_every_recorded_answer(rule: str, dtype: str, numbers: Collection[int]) -> None:
    cases = [c for c in compared_cases() if c.rule == rule and len(c.rows) in numbers]
    assert {len(case.rows) for case in cases} >= {11, max(numbers)}
    with jax.enable_x64(dtype == "float64"):
        for n in sorted({len(case.rows) for case in cases}):
            same_size = [case for case in cases if len(case.rows) == n]
            assert_no_disagreement(same_size, together(same_size, dtype), TOLERANCE[dtype])


def test_refused_numbers_of_workers_raise() -> None:
    for case in rule_cases():
        if is_refused(case):
            with pytest.raises(ValueError, match="n >= 2f \\+ 3"):
                getattr(aggregators, case.rule)(case.rows, case.f, **case.options)


def test_rules_give_an_answer_where_the_program_raised() -> None:
    """The program's Bulyan fails on too many rows that are not finite; here values never raise."""
    entries, arrays = recorded()
    failed = [e for e in entries if e["kind"] == "gar-error" and e["name"] == "bulyan"]
    assert len(failed) == 5
    for entry in failed:
        rows = arrays[entry["input"]]
        _, options = rule_and_options("bm", "bulyan", len(rows), entry["params"])
        rule = functools.partial(aggregators.bulyan, f=entry["params"]["f"], **options)
        aggregate = quick_jit(rule)(rows)
        assert aggregate.shape == rows.shape[1:]
