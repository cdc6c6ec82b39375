"""The search for worst cases: known ones are reached and never passed, and the command line."""

import contextlib
import functools
import itertools

import jax
import numpy as np
import pandas as pd
import pytest

from experiments.worst_case import tables
from experiments.worst_case.__main__ import SMOKE, command
from experiments.worst_case.rules import RULES, bound_of, rule_of
from experiments.worst_case.search import coefficient, normalised, search
from simbyz import attacks, records
from simbyz.theory.robustness import coefficient_floor
from tests.reference import center_filters as reference_center_filters
from tests.reference import preaggregators as reference_preaggregators
from tests.reference import rules as reference
from tests.reference import subsets as reference_subsets
from tests.support.compiled import compiled
from tests.support.printed import assert_refused, printed
from tests.support.quickly import compiled_as_usual


@functools.cache
def found_at(rule, n, f, d, restarts=32, steps=120):
    with compiled_as_usual() if rule == "bulyan" else contextlib.nullcontext():
        return search(rule_of(rule), n, f, d, restarts=restarts, iterations=steps, seed=0)


def coefficient_of(aggregate, rows, f):
    honest = rows[: len(rows) - f]
    mean = honest.mean(axis=0)
    return np.sum((aggregate - mean) ** 2) / np.mean(np.sum((honest - mean) ** 2, axis=1))


def by_loops(name, rows, f):
    """The rule, as `tests/reference/` has it."""
    plain = name.removeprefix("mixed_")
    rows = rows if plain == name else reference_preaggregators.nearest_neighbor_mixing(rows, f)
    options = {
        "krum": {"neighbours": len(rows) - f - 1},
        "geometric_median": {"smoothing": 1e-9, "iterations": 128},
    }
    homes = (reference, reference_subsets, reference_center_filters)
    home = next(home for home in homes if hasattr(home, plain))
    return getattr(home, plain)(rows, f, **options.get(plain, {}))


# In one dimension the middle of 5 numbers, 4 of them honest, lies between the second and the third
# of the honest ones, hence within one deviation of their mean: κ = 1, reached by 0 0 1 1 and a 1.
# The middle three of them stay within 1/√3 of a deviation, reached by the floor's configuration.
@pytest.mark.slower
@pytest.mark.parametrize(
    ("rule", "largest"),
    [("median", 1.0), ("trimmed_mean", 1 / 3), ("geometric_median", 1.0)],
)
def test_a_known_worst_case_is_reached_and_not_passed(rule, largest):
    found = found_at(rule, 5, 1, 1, steps=40 if rule == "geometric_median" else 120)
    assert largest * 0.98 < found.coefficient <= largest * (1 + 1e-9)


def test_what_is_found_is_what_the_rows_give():
    found = found_at("median", 5, 1, 1)
    middle = np.sort(found.rows, axis=0)[2]  # float64, in NumPy
    assert found.coefficient == pytest.approx(coefficient_of(middle, found.rows, 1), rel=1e-12)
    assert found.rows.dtype == np.float64
    assert (np.diff(found.history) >= 0).all() and found.history[-1] == found.coefficient
    np.testing.assert_allclose(found.rows[:4].mean(axis=0), 0, atol=1e-12)


def test_a_grid_of_all_small_configurations_finds_nothing_worse():
    found = found_at("trimmed_mean", 5, 1, 1)
    values = [-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]
    worst = 0.0
    for rows in itertools.product(values, repeat=5):
        rows = np.array(rows)[:, None]
        if np.ptp(rows[:4]) > 0:
            worst = max(worst, coefficient_of(np.sort(rows, axis=0)[1:-1].mean(), rows, 1))
    assert worst <= found.coefficient * (1 + 1e-9)


@pytest.mark.slower
def test_the_average_has_no_coefficient():
    assert found_at("average", 5, 1, 1).coefficient > 1e4


@pytest.mark.slower
@pytest.mark.parametrize("rule", RULES)
def test_between_floor_and_bound_and_worse_than_every_attack(rule):
    n, f, d = (7, 1, 2) if rule == "bulyan" else (9, 3, 3)
    found = found_at(rule, n, f, d, restarts=8, steps=30)
    floor, bound = coefficient_floor(n, f), bound_of(rule, n, f)
    assert found.coefficient > 0.99 * floor
    assert not found.coefficient > bound
    # Once more by float64 loops, and over every S.
    aggregate = by_loops(rule, found.rows, f)
    assert coefficient_of(aggregate, found.rows, f) == pytest.approx(found.coefficient, rel=1e-6)
    for chosen in map(list, itertools.combinations(range(n), n - f)):
        rows = np.concatenate([found.rows[chosen], np.delete(found.rows, chosen, axis=0)])
        if np.ptp(rows[: n - f], axis=0).max() > 1e-6:
            assert not coefficient_of(aggregate, rows, f) > bound
    honest = np.random.default_rng(0).normal(size=(n - f, d))
    for attack in (attacks.a_little_is_enough, attacks.fall_of_empires, attacks.sign_flipping):
        with jax.enable_x64(True):
            byzantine = compiled(attack, num_byzantine=f)(jax.random.key(0), honest)
        rows = np.concatenate([honest, byzantine])
        assert coefficient_of(by_loops(rule, rows, f), rows, f) < found.coefficient


def test_a_rule_that_treats_workers_alike_needs_no_subsets():
    """The definition is over all S; that the first rows are S loses nothing."""
    found = found_at("median", 5, 1, 1)
    rows = found.rows
    middle = np.sort(rows, axis=0)[2]
    for out in range(5):
        others = np.concatenate([np.delete(rows, out, axis=0), rows[out : out + 1]])
        if np.ptp(others[:4]) > 1e-6:
            assert coefficient_of(middle, others, 1) <= found.coefficient * (1 + 1e-9)


@pytest.mark.slower
def test_rows_that_agree_but_for_rounding_count_for_nothing():
    """Nine equal rows: their mean is off by a rounding, which normalisation would blow up."""
    agreed = np.full((10, 1), 1 / 3)
    agreed[9] = 1e3
    with jax.enable_x64(True):
        rows = normalised(jax.numpy.asarray(agreed), 1)
        assert not coefficient(rule_of("trimmed_mean"), rows, 1) > 0
        assert not coefficient(rule_of("trimmed_mean"), jax.numpy.asarray(agreed), 1) > 0


def test_contradictions_are_told():
    row = {"rule": "median", "n": 5, "f": 1, "d": 1, "found": 9.0, "bound": 8.0, "file": "a"}
    summary = pd.DataFrame([row, row | {"found": 7.0}, row | {"bound": np.nan}])
    (line,) = tables.contradictions(summary)
    assert "median at n = 5, f = 1, d = 1 reaches 9, above its proved bound 8: see a" in line


@pytest.mark.slower
def test_command_is_resumed(tmp_path, capsys, monkeypatch):
    # As `found_at` has it, so that the programs are compiled already.
    arguments = f"--rule median average --n 5 --f 1 --d 1 --restarts 32 --steps 120 --seeds 1 2 \
        --results {tmp_path}".split()
    assert (SMOKE.rule, SMOKE.restarts, SMOKE.steps) == (("median", "average"), 32, 120)
    assert command(arguments) == 0
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines()[:-1])) <= 100 and "∞" in output
    files = {path.name for path in tmp_path.rglob("*")}
    assert {"worst_case.csv", "worst_case.pdf", "worst_case.png"} < files
    runs = records.read_runs(tmp_path)
    assert len(runs) == 4 and (runs["code_digest"].str.len() == 10).all()
    monkeypatch.setattr("experiments.worst_case.study.search", None)
    assert command(arguments) == 0  # nothing is searched again
    assert capsys.readouterr().out.split("written")[0] == output.split("written")[0]
    monkeypatch.setattr("experiments.worst_case.study._code", lambda: "0123456789")
    more = [
        *arguments[: arguments.index("--seeds")],
        *"--seeds 1 2 3 --results".split(),
        str(tmp_path),
    ]
    assert command(more) == 2  # the third would be of other code
    assert "runs of different code: " in capsys.readouterr().err
    for run in runs.to_dict("records"):
        rows = np.array(run["rows"])
        assert rows.shape == (5, 1)
        middle = rows.mean(0) if run["rule"] == "average" else np.sort(rows, axis=0)[2]
        assert coefficient_of(middle, rows, 1) == pytest.approx(run["coefficient"], rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--f 5", "f must be from 1 to below n / 2 = 5, the floor's domain, got 5"),
        ("--f 0", "f must be from 1"),
        ("--rule krum --n 8 --f 3", "krum needs n >= 2f + 3, got n=8, f=3"),
        ("--rule mixed_krum --n 5 --f 2", "got n=5, f=2 (part 2 of 2, krum, of a chain"),
        ("--d 0", "d must be at least 1, got 0"),
        ("--restarts 0", "restarts must be at least 1, got 0"),
        ("--steps 0", "steps must be at least 1, got 0"),
        ("--seeds -1", "seeds must be from 0"),
    ],
)
def test_bad_input(arguments, message, tmp_path, capsys):
    assert_refused(command, arguments, message, tmp_path, capsys)


def test_a_contradiction_stands_out_in_the_table():
    row = {
        "rule": "median",
        "n": 5,
        "f": 1,
        "d": 1,
        "floor": 1 / 3,
        "found": 9.0,
        "start": "far",
        "bound": 8.0,
        "published": 8.1,
        "file": "a",
    }
    assert "9.000!" in printed(tables.print_table, pd.DataFrame([row]))
