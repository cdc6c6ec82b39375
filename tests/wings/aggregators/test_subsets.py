"""The rules that try all subsets, against loops over all subsets and recorded answers."""

import functools
import json
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.aggregators.subsets import rules, sums
from tests.reference import subsets as reference_subsets
from tests.support.compiled import compiled, quick_jit
from tests.support.paths import GOLDEN

pytestmark = pytest.mark.slower

RULES = ["minimum_diameter_averaging", "minimum_variance_averaging", "smea"]
SPREADS = {
    "minimum_diameter_averaging": reference_subsets.diameter,
    "minimum_variance_averaging": reference_subsets.sum_of_squares,
    "smea": reference_subsets.top_eigenvalue,
}
# At the limit n = 2f + 1, above it, and with nothing to leave out. Compiling is the cost: all tests
# share these, with D columns, and (30, 10).
SIZES = [(1, 0), (5, 2), (7, 3), (11, 2), (11, 5), (13, 3)]
D = 64

every_rule = pytest.mark.parametrize("rule", RULES)


def chosen(rule: str, rows: np.ndarray, f: int) -> tuple[int, ...]:
    """The rows chosen; columns of zeros, which change no distance, fill up to D."""
    padded = np.pad(rows, ((0, 0), (0, D - rows.shape[1])))
    selection = getattr(aggregators, f"{rule}_selection")
    weights = np.asarray(compiled(selection, f=f)(padded))
    kept = np.flatnonzero(weights)
    np.testing.assert_allclose(weights[kept], np.full(len(rows) - f, 1 / (len(rows) - f)), 1e-6)
    return tuple(int(i) for i in kept)


def spread(rule: str, rows: np.ndarray, subset: tuple[int, ...]) -> float:
    return SPREADS[rule](subset, rows, reference_subsets.squared_distances(rows))


def expected_subset(rule: str, rows: np.ndarray, f: int) -> tuple[int, ...]:
    return reference_subsets.first_smallest(rows, f, SPREADS[rule])


def gaussian(generator: np.random.Generator, n: int, f: int) -> np.ndarray:
    return generator.normal(size=(n, 4))


def clusters(generator: np.random.Generator, n: int, f: int) -> np.ndarray:
    return 3 * generator.integers(0, 2, size=(n, 4)) + 0.1 * generator.normal(size=(n, 4))


def directions(generator: np.random.Generator, n: int, f: int) -> np.ndarray:
    """All but equally far from each other, as are gradients of many coordinates."""
    return generator.normal(size=(n, D))


def attack(generator: np.random.Generator, n: int, f: int) -> np.ndarray:
    """f equal rows, at places drawn."""
    rows = generator.normal(size=(n, 4))
    rows[generator.permutation(n)[:f]] = rows.mean(axis=0) - 1.5 * rows.std(axis=0)
    return rows


def attack_of_huge_rows(generator: np.random.Generator, n: int, f: int) -> np.ndarray:
    rows = generator.normal(size=(n, 4))
    rows[generator.permutation(n)[:f]] = generator.choice(
        [np.nan, np.inf, -np.inf, 1e30, -1e30, 1e200], size=(f, 4)
    )
    return rows


INPUTS = [gaussian, clusters, directions, attack, attack_of_huge_rows]


@every_rule
@pytest.mark.parametrize("n,f", SIZES)
def test_the_subset_is_the_one_found_by_trying_all(rule: str, n: int, f: int) -> None:
    with jax.enable_x64(True), np.errstate(over="ignore", invalid="ignore"):
        for make in INPUTS:
            for seed in range(2):
                rows = make(np.random.default_rng(seed), n, f)
                found, expected = chosen(rule, rows, f), expected_subset(rule, rows, f)
                if found != expected:
                    # Equal rows for each other: the same subset as a set of values.
                    assert make is attack, (make.__name__, seed)
                    a, b = (sorted(map(tuple, rows[list(s)])) for s in (found, expected))
                    assert a == b, seed


@pytest.mark.parametrize("rule", RULES[:2])
@pytest.mark.parametrize("n,f", SIZES)
def test_of_equal_subsets_the_first_is_taken(rule: str, n: int, f: int) -> None:
    """Small integers: no distance or sum is rounded, and many subsets tie."""
    with jax.enable_x64(True):
        for seed in range(8):
            rows = np.random.default_rng(seed).integers(0, 3, size=(n, 1 + seed % 3))
            rows = rows.astype(np.float64)
            assert chosen(rule, rows, f) == expected_subset(rule, rows, f), seed
        assert chosen(rule, np.ones((n, 2)), f) == tuple(range(n - f))


@pytest.mark.parametrize("n,f", SIZES)
def test_smea_takes_one_of_equal_subsets(n: int, f: int) -> None:
    """An eigenvalue is rounded: on integers too, the loop's choice among equals is an accident."""
    with jax.enable_x64(True):
        for seed in range(8):
            generator = np.random.default_rng(seed)
            rows = generator.integers(0, 3, size=(n, 1 + seed % 3)).astype(np.float64)
            found = spread("smea", rows, chosen("smea", rows, f))
            smallest = spread("smea", rows, expected_subset("smea", rows, f))
            np.testing.assert_allclose(found, smallest, rtol=1e-12, atol=1e-12)


@every_rule
def test_more_bad_rows_than_f_give_an_answer(rule: str) -> None:
    with jax.enable_x64(True):
        for value in (np.nan, np.inf, -1e200):
            rows = np.random.default_rng(0).normal(size=(11, 4))
            for bad in (3, 6, 11):
                rows[:bad] = value
                # No subset of 9 is without a bad row; as many as ever are averaged all the same.
                subset = tuple(chosen(rule, rows, 2))
                assert len(subset) == 9
                if rule == "minimum_diameter_averaging":  # all are as wide: the first is taken
                    assert subset == tuple(range(9))


def test_small_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "TILE", (3, 2))
    n, f = 9, 4
    search = quick_jit(functools.partial(aggregators.minimum_variance_averaging_selection, f=f))
    for seed in range(10):
        rows = np.random.default_rng(seed).integers(0, 3, size=(n, 2)).astype(np.float32)
        found = tuple(np.flatnonzero(search(rows)))
        assert found == expected_subset("minimum_variance_averaging", rows, f), seed


@pytest.mark.thorough
def test_whoever_is_hidden_among_thirty_is_found() -> None:
    """Twenty rows within a distance of 1, and ten that are 2 away: the twenty, for every rule."""
    n, f = 30, 10
    for seed in range(3):
        generator = np.random.default_rng(seed)
        rows = generator.normal(size=(n, D)).astype(np.float32)
        rows /= 2 * np.linalg.norm(rows, axis=1, keepdims=True)
        outside = np.sort(generator.permutation(n)[:f])
        rows[outside] *= 5
        inside = tuple(np.setdiff1d(np.arange(n), outside))
        for rule in RULES:
            assert chosen(rule, rows, f) == inside, (rule, seed)


@pytest.mark.thorough
@every_rule
def test_no_exchange_betters_the_subset_of_thirty(rule: str) -> None:
    """Thirty rows are too many for the loop, but the best subset is no worse than its neighbours.

    Of the inputs tried, unequal clusters of rows that differ a little take longest.
    """
    n, f = 30, 10
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(n, D))
    cases = [noise, attack(generator, n, f), noise[:, :2], 5 * np.eye(D)[np.arange(n) % 8] + noise]
    for rows in cases:
        rows = rows.astype(np.float32)
        found = chosen(rule, rows, f)
        squares = reference_subsets.squared_distances(rows)
        smallest = SPREADS[rule](found, rows, squares)
        for out in found:
            for into in set(range(n)) - set(found):
                neighbour = tuple(sorted(set(found) - {out} | {into}))
                assert SPREADS[rule](neighbour, rows, squares) >= smallest * (1 - 1e-5)


def test_too_many_subsets_are_refused() -> None:
    rows = jax.ShapeDtypeStruct((51, 2), jnp.float32)
    for rule in RULES[1:]:
        message = (
            f"{rule} needs at most 50,000,000 subsets, got n=51, f=24: 229,591,913,401,900 subsets"
        )
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(functools.partial(getattr(aggregators, rule), f=24), rows)
    assert math.comb(30, 10) <= rules.MOST_SUBSETS

    rows = jax.ShapeDtypeStruct((63, 2), jnp.float32)
    with pytest.raises(ValueError, match="needs f <= 30, got n=63, f=31: 916,312,070,471,295,267"):
        jax.eval_shape(functools.partial(aggregators.minimum_diameter_averaging, f=31), rows)


# The recorded answers of the paper's program (bm) and of ByzFL.

NAMES = {
    "brute": "minimum_diameter_averaging",
    "MDA": "minimum_diameter_averaging",
    "SMEA": "smea",
}


@functools.cache
def recorded(kind: str) -> list[tuple[dict, np.ndarray, np.ndarray | None]]:
    """Entries of one kind with their input and their answer."""
    entries = json.loads((GOLDEN / "vectors.json").read_text())["entries"]
    found = []
    with np.load(GOLDEN / "vectors.npz") as arrays:
        for entry in entries:
            if entry["kind"] == kind and entry["name"] in NAMES:
                answer = None
                if kind == "gar":
                    offset, shape = entry["output"]
                    answer = arrays["outputs"][offset : offset + int(np.prod(shape))]
                found.append((entry, arrays[entry["input"]], answer))
    return found


def why_undetermined(entry: dict) -> str | None:
    """The reason why the definition does not determine this answer, if it does not."""
    if entry["name"] == "SMEA":
        return "ByzFL takes one step of the power method from a random vector for the eigenvalue"
    if entry["library"].startswith("byzfl") and entry["nonfinite_input"]:
        return "ByzFL does not say what it does with rows that are not finite"
    return None


def determined() -> list[tuple[dict, np.ndarray, np.ndarray]]:
    return [case for case in recorded("gar") if why_undetermined(case[0]) is None]


def assert_answer(entry: dict, rows: np.ndarray, result, answer: np.ndarray, bound: float) -> None:
    scale = np.max(np.abs(rows), where=np.isfinite(rows), initial=0)
    np.testing.assert_allclose(result, answer, rtol=0, atol=bound * scale, err_msg=str(entry))


def test_reference_gives_every_determined_answer() -> None:
    assert Counter(why_undetermined(entry) for entry, _, _ in recorded("gar")) == {
        None: 91,
        "ByzFL takes one step of the power method from a random vector for the eigenvalue": 14,
        "ByzFL does not say what it does with rows that are not finite": 10,
    }
    with np.errstate(over="ignore", invalid="ignore"):
        for entry, rows, answer in determined():
            f = entry["params"]["f"]
            result = reference_subsets.minimum_diameter_averaging(rows, f)
            assert_answer(entry, rows, result, answer, 1e-9)


@pytest.mark.parametrize(
    "dtype,bound,sizes,count", [("float64", 1e-9, SIZES, 27), ("float32", 1e-5, [(11, 5)], 12)]
)
def test_rules_give_the_determined_answers(
    dtype: str, bound: float, sizes: list[tuple[int, int]], count: int
) -> None:
    """Of the sizes that other tests compile too; in float32, of the size of most answers."""
    num_compared = 0
    with jax.enable_x64(dtype == "float64"):
        for entry, rows, answer in determined():
            f = entry["params"]["f"]
            if (len(rows), f) in sizes:
                subset = chosen("minimum_diameter_averaging", rows.astype(dtype), f)
                assert_answer(entry, rows, rows[list(subset)].mean(axis=0), answer, bound)
                num_compared += 1
    assert num_compared == count


def test_the_recorded_smea_is_one_step_of_the_power_method() -> None:
    """With the recorded random vectors, that gives ByzFL's answers; their subsets are no better."""
    num_equal = 0
    with np.load(GOLDEN / "vectors.npz") as arrays:
        for entry, rows, answer in recorded("gar"):
            if entry["name"] == "SMEA":
                f = entry["params"]["f"]
                starts = iter(arrays[entry["draws"]])

                def after_one_step(subset: tuple[int, ...], rows: np.ndarray, _, starts=starts):
                    centered = rows[list(subset)] - rows[list(subset)].mean(axis=0)
                    start = next(starts)
                    return np.linalg.norm(centered.T @ (centered @ start)) / np.linalg.norm(start)

                theirs = reference_subsets.first_smallest(rows, f, after_one_step)
                assert_answer(entry, rows, rows[list(theirs)].mean(axis=0), answer, 1e-9)
                ours = reference_subsets.smea_subset(rows, f)
                assert spread("smea", rows, ours) <= spread("smea", rows, theirs)
                num_equal += ours == theirs
    assert num_equal == 2


def test_rules_give_an_answer_where_the_program_raised() -> None:
    """The program refuses more than f rows that are not finite; here values never raise."""
    failed = [rows for entry, rows, _ in recorded("gar-error") if entry["library"] == "bm"]
    assert Counter(len(rows) for rows in failed) == {11: 2, 15: 2}
    with jax.enable_x64(True):
        for rows in failed:
            if len(rows) == 11:
                chosen("minimum_diameter_averaging", rows, 2)
