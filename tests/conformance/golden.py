"""Recorded answers of the paper's program (bm) and of ByzFL: read, called for and compared."""

import functools
import json
from typing import NamedTuple

import jax
import numpy as np

from simbyz import aggregators
from tests.support.compiled import quick_jit
from tests.support.paths import GOLDEN

# Errors as fractions of the largest finite input. Measured: at most 5e-16 and 3e-7.
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


class Case(NamedTuple):
    """One recorded answer, and the call that should give it."""

    label: str
    rule: str
    f: int
    options: dict
    rows: np.ndarray
    expected: np.ndarray
    entry: dict


@functools.cache
def recorded() -> tuple[list[dict], dict[str, np.ndarray]]:
    entries = json.loads((GOLDEN / "vectors.json").read_text())["entries"]
    with np.load(GOLDEN / "vectors.npz") as arrays:
        return entries, dict(arrays)


def answer(entry: dict) -> np.ndarray:
    offset, shape = entry["output"]
    return recorded()[1]["outputs"][offset : offset + int(np.prod(shape))].reshape(shape)


def attack_and_options(name: str, params: dict) -> tuple[str, dict] | None:
    """Which of our attacks, with which options, theirs is; None if none is."""
    sign = -1 if params.get("negative") else 1
    if name == "little":
        return "a_little_is_enough", {"factor": sign * params["factor"]}
    if name == "empire":
        return "fall_of_empires", {"factor": sign * params["factor"]}
    if name == "empire-strict":
        return "inner_product_manipulation", {"tau": float(params["epsilon"])}
    if name == "bulyan":
        target = params.get("target_idx", -1)
        coordinate = None if target == "all" else target
        factor = sign * params["factor"]
        return "hidden_vulnerability", {"factor": factor, "coordinate": coordinate}
    if name == "anticge":
        return "anti_cge", {"f": params["f_decl"]}
    if name == "ALittleIsEnough":
        return "a_little_is_enough", {"factor": params["tau"]}
    if name == "InnerProductManipulation":
        return "inner_product_manipulation", {"tau": params["tau"]}
    if name == "SignFlipping":
        return "sign_flipping", {}
    if name == "Mimic":
        return "mimic", {"worker": params["epsilon"]}
    if name == "Inf":
        return "inf", {}
    if name == "Gaussian":
        return "gaussian", {"mean": params["mu"], "scale": params["sigma"]}
    return None


def determined_coordinates(case: Case) -> np.ndarray:
    """All but those where the program's median met a NaN.

    It is NaN there (torch.median), ours is not. The program's meamed then keeps arbitrary values,
    all being NaN away from the median.
    """
    if case.entry["library"] == "bm" and case.rule in ("median", "meamed"):
        return ~np.any(np.isnan(case.rows), axis=0)
    return np.ones(case.rows.shape[1], dtype=bool)


def disagreement(case: Case, result: np.ndarray, tolerance: float) -> str | None:
    where = determined_coordinates(case)
    result, expected = np.asarray(result)[where], case.expected[where]
    finite = np.isfinite(expected)
    # Where more rows than f are bad: which of NaN and ±inf comes out means nothing.
    if not np.array_equal(np.isfinite(result), finite):
        return f"{case.label}: got {result}, expected {expected}"
    scale = np.max(np.abs(case.rows), where=np.isfinite(case.rows), initial=0)
    error = np.max(np.abs(result[finite] - expected[finite]), initial=0)
    if error > tolerance * scale:
        return f"{case.label}: off by {error:.1e} of {scale:.1e}, got {result}, expected {expected}"
    return None


def assert_no_disagreement(cases: list[Case], results: list[np.ndarray], tolerance: float) -> None:
    found = [
        disagreement(case, result, tolerance) for case, result in zip(cases, results, strict=True)
    ]
    assert [line for line in found if line is not None] == []


def together(cases: list[Case], dtype: str) -> list[np.ndarray]:
    """The rule's results, all options in one compiled function of n rows: compiling is the cost.

    Coordinates of zeros fill up short rows; they change no distance and no other coordinate.
    """
    configurations = {f"{c.f} {c.options}": (c.f, c.options) for c in cases}
    rule = getattr(aggregators, cases[0].rule)

    @quick_jit
    def all_configurations(rows: jax.Array) -> dict[str, jax.Array]:
        return {key: rule(rows, f, **options) for key, (f, options) in configurations.items()}

    longest = max(case.rows.shape[1] for case in cases)
    results = {}
    for case in cases:
        if case.entry["input"] not in results:
            d = case.rows.shape[1]
            padded = np.pad(case.rows.astype(dtype), ((0, 0), (0, longest - d)))
            results[case.entry["input"]] = jax.tree.map(np.asarray, all_configurations(padded))
    aggregates = [results[case.entry["input"]][f"{case.f} {case.options}"] for case in cases]
    assert all(aggregate.dtype == dtype for aggregate in aggregates)
    return [
        aggregate[: case.rows.shape[1]] for aggregate, case in zip(aggregates, cases, strict=True)
    ]
