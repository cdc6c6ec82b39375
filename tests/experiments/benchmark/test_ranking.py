"""The benchmark's rankings and comparisons, against plain loops over made-up runs."""

import numpy as np
import pandas as pd
import pytest

from experiments.benchmark.answers import attacks, ranking
from experiments.benchmark.entries.parts import PARTS, Part, part_of
from experiments.benchmark.page import tables
from tests.support.printed import printed


def made_up():
    """Runs of two rules, rates and attacks, with random results."""
    rng = np.random.default_rng(0)
    axes = {
        "rule": ["median", "krum", "average"],
        "pre": ["none", "nnm"],
        "f": [2, 6],
        "heterogeneity": ["iid", "dirichlet:1"],
        "momentum": [0.9, 0.0],
        "attack": ["none", "a", "b"],
        "learning_rate": [0.5, 0.1],
        "seed": [1, 2, 3],
    }
    runs = pd.MultiIndex.from_product(axes.values(), names=list(axes)).to_frame(index=False)
    for column in ("validation_accuracy", "test_accuracy"):
        runs[column] = rng.random(len(runs))
    return runs.assign(diverged=False, seconds=0.1, steps=10)


def by_hand(rows, cell):
    """The worst attack of a cell and its accuracies by seed, in plain loops."""
    best = (-1.0,)
    for rate in (0.5, 0.1):
        tests, validations = {}, {}
        for attack in ("none", "a", "b"):
            some = [
                run
                for run in rows
                if tuple(run[name] for name in ranking.CELL) == cell
                and (run["learning_rate"], run["attack"]) == (rate, attack)
            ]
            tests[attack] = [run["test_accuracy"] for run in some]
            validations[attack] = sum(run["validation_accuracy"] for run in some) / 3
        if min(validations.values()) > best[0]:
            best = (min(validations.values()), rate, tests)
    _, rate, tests = best
    worst = min(tests, key=lambda attack: sum(tests[attack]))
    return rate, worst, tests[worst], sum(tests["none"]) / 3


@pytest.mark.slower
def test_the_ranking_is_of_worst_cases():
    """Against plain loops; the interval is Student's, of three paired differences."""
    runs = made_up()
    all_rows = runs.to_dict("records")
    table = ranking.worst_cases(runs)
    assert len(table) == 3 * 2 * 2 * 2 * 2
    for _, some in table.groupby(["f", "heterogeneity", "momentum"], sort=False):
        rows = some.to_dict("records")
        assert [row["rank"] for row in rows] == list(range(1, 7))
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            rate, worst, seeds, calm = by_hand(all_rows, tuple(row[name] for name in ranking.CELL))
            assert (row["learning_rate"], row["worst_attack"]) == (rate, worst)
            assert row["test_accuracy"] == pytest.approx(sum(seeds) / 3)
            assert row["deviation"] == pytest.approx(np.std(seeds, ddof=1))
            assert row["unattacked"] == pytest.approx(calm)
            if following is None:
                assert np.isnan(row["difference"]) and not row["beyond_noise"]
                continue
            other = by_hand(all_rows, tuple(following[name] for name in ranking.CELL))[2]
            apart = np.array(seeds) - np.array(other)
            margin = 4.302652729911275 * np.std(apart, ddof=1) / 3**0.5  # t of 2 degrees, 97.5 %
            assert row["difference"] == pytest.approx(apart.mean()) and row["difference"] >= 0
            assert row["low"] == pytest.approx(apart.mean() - margin)
            assert row["beyond_noise"] == (abs(apart.mean()) > margin)


def test_breakdown_is_below_half_of_the_best_unattacked():
    table = ranking.worst_cases(made_up())
    found = ranking.breakdown(table).set_index([*ranking.DEFENCE, "heterogeneity"])["breakdown"]
    assert len(found) == 3 * 2 * 2 * 2 and found.notna().any()
    for (rule, pre, momentum, level), point in found.items():
        same = table[(table["heterogeneity"] == level) & (table["momentum"] == momentum)]
        broken = [
            f
            for f, some in same.groupby("f")
            for row in some.to_dict("records")
            if (row["rule"], row["pre"]) == (rule, pre)
            and row["test_accuracy"] < some["unattacked"].max() / 2
        ]
        assert (point == min(broken)) if broken else np.isnan(point)


def test_what_mixing_adds_is_paired():
    runs = made_up()
    found = ranking.gains(runs, "pre", "none")
    assert len(found) == 2 * 2 and set(found["rules"]) == {6}
    row = found[(found["f"] == 6) & (found["heterogeneity"] == "iid")].iloc[0]
    differences, rows = [], runs.to_dict("records")
    for rule in ("median", "krum", "average"):
        for momentum in (0.9, 0.0):
            with_, without = (
                by_hand(rows, (rule, pre, 6, "iid", momentum))[2] for pre in ("nnm", "none")
            )
            differences.append(np.array(with_) - np.array(without))
    assert row["mean"] == pytest.approx(np.mean(differences))
    assert row["better"] == sum(one.mean() > 0 for one in differences)
    means = np.mean(differences, axis=0)
    margin = 4.302652729911275 * np.std(means, ddof=1) / 3**0.5
    assert (row["low"], row["high"]) == pytest.approx(
        (means.mean() - margin, means.mean() + margin)
    )


def test_one_seed_has_no_interval_and_neighbouring_f_other_headings():
    found = {"pre": ranking.gains(made_up().query("seed == 1"), "pre", "none")}
    shown = printed(tables.print_gains, found)
    assert "nan" not in shown and shown.count(" - ") == len(found["pre"])
    assert tables.share(1, 8) == "0.125" and tables.share(2, 20) == "0.1"
    assert (tables.share(100, 500), tables.share(101, 500)) == ("0.2", "0.202")


@pytest.mark.parametrize(("pre", "headings"), [("none", 1), ("nnm", 2)])
def test_a_rule_of_the_ranking_has_a_line(pre, headings):
    runs = made_up().query("momentum == 0.9 and pre in ['none', @pre]")
    runs = runs.replace({"rule": {"krum": "sequential_centered_clipping"}})
    table = ranking.worst_cases(runs)
    costs = table[["rule", "pre"]].drop_duplicates().assign(microseconds=1234.0)
    shown = printed(tables.print_ranking, table, costs, {}, 20, "title").splitlines()
    start = next(place for place, line in enumerate(shown) if line.startswith("rule"))
    assert shown[start].split()[:headings] == ["rule", "after"][:headings]
    assert sum(line.startswith("sequential_centered_clipping ") for line in shown) == headings
    assert sum(line.endswith("1234") for line in shown) == len(costs)


def test_more_attacks_are_compared_each_at_its_own_rate():
    """All attacks beside none and a: the rates may differ."""
    runs = made_up()
    some = runs[runs["attack"] != "b"]
    found = attacks.beyond(runs, ("none", "a"))
    row = found[(found["f"] == 2) & (found["heterogeneity"] == "iid")].iloc[0]
    cells = [cell for cell in ranking.by_seed(runs) if cell[2:4] == (2, "iid")]
    all_of_them, fewer = (
        ranking.worst_cases(part).set_index(ranking.CELL)["test_accuracy"] for part in (runs, some)
    )
    differences = [all_of_them[cell] - fewer[cell] for cell in cells]
    assert row["rules"] == len(cells) == 12
    assert row["mean"] == pytest.approx(np.mean(differences))
    assert row["worse"] == sum(one < -0.01 for one in differences)


def test_for_how_many_an_attack_is_the_worst():
    rows = ranking.worst_cases(made_up()).to_dict("records")
    found = attacks.worst_for(made_up())
    assert sum(sum(by_f.values()) for by_f in found.values()) == len(rows)
    for attack, by_f in found.items():
        for f, count in by_f.items():
            assert count == sum((one["worst_attack"], one["f"]) == (attack, f) for one in rows)


def test_level_with_the_best_is_within_the_noise():
    runs = made_up()
    rows = runs.to_dict("records")
    for row in ranking.level_with_the_best(runs).to_dict("records"):
        cell = (row["f"], row["heterogeneity"], row["momentum"])
        names = [(rule, pre) for rule in ("median", "krum", "average") for pre in ("none", "nnm")]
        seeds = {name: np.array(by_hand(rows, (*name, *cell))[2]) for name in names}
        best = max(names, key=lambda name: seeds[name].mean())
        within = set()
        for name in names:
            apart = seeds[best] - seeds[name]
            margin = 4.302652729911275 * np.std(apart, ddof=1) / 3**0.5
            if name != best and abs(apart.mean()) <= margin:
                within.add(name)
        assert row["best"] == best and row["of"] == 6 and set(row["others"]) == within


def test_what_all_cells_have_is_comparable():
    runs = made_up()
    more = runs.assign(attack="c")[runs["rule"] == "krum"]
    less = runs[(runs["rule"] != "krum") | (runs["attack"] != "b") | (runs["seed"] != 3)]
    assert ranking.comparable(pd.concat([runs, more])).equals(runs)
    found = ranking.comparable(less)
    assert found.equals(less[(less["attack"] != "b") | (less["seed"] != 3)])
    apart = runs[(runs["rule"] == "krum") == (runs["attack"] == "b")]
    assert ranking.comparable(apart).equals(apart)


def test_a_part_takes_its_own_runs():
    runs = made_up().assign(n=20)
    part = Part("", pre=("nnm",), attack=("a", "b"), shares=(0.3,), heterogeneity=("iid",))
    found = part_of(part, runs)
    assert len(found) == 3 * 2 * 2 * 3  # rules, attacks, rates, seeds
    same = {"pre": "nnm", "f": 6, "heterogeneity": "iid", "momentum": 0.9}
    assert all((found[name] == value).all() for name, value in same.items())
    few = part_of(part._replace(rule=("krum",)), runs)
    assert few.equals(found[found["rule"] == "krum"]) and len(few) == 2 * 2 * 3
    assert PARTS["ranking"].numbers(20) == (2, 4, 6, 9)
