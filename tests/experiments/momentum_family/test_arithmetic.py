"""Choices, paired differences and claims of the momentum family against plain loops, and the page.

The table that the page's figures are computed from is kept beside the experiment.
"""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.distributed_momentum.analysis.bootstrap import Mean, resamples
from experiments.momentum_family import lanes, pictures, tables
from experiments.momentum_family.claims import COMPARISONS, claims, table_of, verdict
from experiments.shared.formats import as_markdown
from tests.support.paths import DOCS, ROOT
from tests.support.printed import printed

KEPT = ROOT / "experiments" / "momentum_family" / "digits.parquet"
ALGORITHMS = ("worker_momentum", "sgd", "nsgdm")


def made_up():
    rng = np.random.default_rng(0)
    rows = itertools.product(
        ["median"],
        [1.0, 0.2],
        ["iid"],
        ALGORITHMS,
        ["little", "mimic"],
        [0.1, 0.5],
        [1, 2, 3],
    )
    names = [*tables.CELL, "learning_rate", "seed"]
    runs = pd.DataFrame(rows, columns=names)
    for name in tables.RESULTS:
        runs[name] = rng.random(len(runs))
    return runs.assign(diverged=False)


def test_the_rate_is_the_best_under_its_worst_attack():
    runs = made_up()
    found = tables.chosen(runs)
    for participation, name in itertools.product([1.0, 0.2], ALGORITHMS):
        some = runs[(runs["participation"] == participation) & (runs["algorithm"] == name)]
        worst = {
            rate: min(
                np.mean([r["validation_accuracy"] for r in group if r["attack"] == attack])
                for attack in ("little", "mimic")
            )
            for rate in (0.1, 0.5)
            if (group := [r for r in some.to_dict("records") if r["learning_rate"] == rate])
        }
        mine = found[(found["participation"] == participation) & (found["algorithm"] == name)]
        assert set(mine["learning_rate"]) == {max(worst, key=worst.__getitem__)}
        assert len(mine) == 2 * 3


def test_differences_are_paired_by_seed():
    chosen = tables.chosen(made_up())
    summary = tables.summarise(chosen, "worker_momentum")
    weights, chances = resamples(3)
    for row in summary.to_dict("records"):
        case = chosen[
            (chosen["participation"] == row["participation"]) & (chosen["attack"] == row["attack"])
        ]
        pairs = [
            case.loc[(case["algorithm"] == name) & (case["seed"] == seed), "test_accuracy"].item()
            for seed in (1, 2, 3)
            for name in (row["algorithm"], "worker_momentum")
        ]
        apart = np.subtract(pairs[::2], pairs[1::2])
        assert row["difference"] == pytest.approx(apart.mean(), abs=1e-12)
        means = weights @ apart / 3
        order = np.argsort(means)
        below = np.cumsum(chances[order])
        assert row["low"] == pytest.approx(means[order][np.argmax(below > 0.025 - 1e-9)], abs=1e-9)
        assert row["low"] <= row["difference"] <= row["high"]
        if row["algorithm"] == "worker_momentum":
            assert row["low"] == row["high"] == 0


def test_costs_until_an_evaluation_has_the_target():
    runs = pd.DataFrame({"digest": ["a", "b"]})
    steps = pd.DataFrame(
        {
            "digest": ["a"] * 3 + ["b"] * 3,
            "accuracy": [0.1, np.nan, 0.9, 0.1, 0.2, 0.3],
            "gradients": [0.0, 5.0, 10.0] * 2,
            "megabits": [0.0, 1.0, 2.0] * 2,
        }
    )
    found = tables.with_costs(runs, steps, 0.8)
    assert found["gradients_to"].tolist() == [10.0, math.inf]
    assert found["megabits_to"].tolist() == [2.0, math.inf]
    assert found["megabits"].tolist() == [2.0, 2.0] and found["gradients"].tolist() == [10.0] * 2


@pytest.mark.parametrize(
    ("low", "high", "margin", "words"),
    [
        (0.01, 0.05, 0.0, "borne out"),
        (-0.01, 0.05, 0.0, "left open"),
        (-0.05, -0.01, 0.0, "not borne out"),
        (-0.01, 0.05, 0.02, "borne out"),
        (-0.05, -0.01, 0.02, "left open"),
        (-0.05, -0.03, 0.02, "not borne out"),
        (math.nan, math.nan, 0.0, "left open"),
    ],
)
def test_verdicts(low, high, margin, words):
    assert verdict(Mean((low + high) / 2, low, high, 3), margin) == words


def test_claims_of_what_was_run():
    runs = made_up()
    chosen = tables.chosen(runs)
    found = list(claims(chosen, runs))
    assert [one.participation for one in found] == [1.0, 0.2] * 3
    for number, participation in enumerate([1.0, 0.2]):
        momentum, steps, rates = found[number::2]
        some = chosen[chosen["participation"] == participation]
        by = some.groupby("algorithm")["test_accuracy"].mean()
        assert momentum.found.value == pytest.approx(by["worker_momentum"] - by["sgd"])
        assert steps.found.value == pytest.approx(by["nsgdm"] - by["worker_momentum"])
        by_rate = runs[runs["participation"] == participation].pivot_table(
            index=["attack", "seed"],
            columns=["algorithm", "learning_rate"],
            values="test_accuracy",
        )
        spread = {name: np.abs(by_rate[name][0.1] - by_rate[name][0.5]) for name in ALGORITHMS}
        apart = spread["worker_momentum"] - spread["nsgdm"]
        assert rates.found.value == pytest.approx(apart.mean())
    assert "left open" in printed(
        lambda console: console.print(table_of([found[0]._replace(verdict="left open")]))
    )


def test_printed_within_the_width_and_refusals_by_name():
    """With the widest cells that there may be."""
    chosen = tables.chosen(made_up())
    summary = tables.summarise(chosen, "worker_momentum")
    wide = summary.assign(test_accuracy=1.0, deviation=0.123, difference=-1.0, low=-1.0, high=-0.9)
    one = wide[wide["attack"] == "little"]
    wide = pd.concat([one.assign(attack=name) for name in lanes.ATTACKS])
    algorithms = ("delayed_momentum", *ALGORITHMS)

    def prints(console):
        tables.print_tables(wide, algorithms, "worker_momentum", 0.8, "title", console)
        console.print(tables.overview(chosen, "worker_momentum"))

    shown = printed(prints)
    # At full participation alone, in both of its tables.
    assert shown.count("refused") == 2 * 4 and "nan" not in shown
    assert " ".join(shown.split()).count("delayed_momentum: nobody is absent") == 2


def test_curves_are_drawn(tmp_path):
    chosen = tables.chosen(made_up()).assign(digest=lambda runs: runs.index.astype(str))
    steps = pd.DataFrame({"digest": np.repeat(chosen["digest"].to_numpy(), 3)})
    steps["step"] = np.tile([0, 5, 10], len(chosen))
    steps = steps.assign(accuracy=0.5, gradients=steps["step"], megabits=steps["step"] + 1.0)
    names = []
    for name, figure in pictures.curves(steps, chosen):
        names.append(name)
        figure.savefig(tmp_path / f"{name}.png", dpi=40)
        lines = [len(axes.lines) for axes in figure.axes]
        assert lines == [len(ALGORITHMS)] * 4
    assert names == [f"median-{axis}" for axis in ("steps", "gradients", "bits")]


def kept():
    runs = pd.read_parquet(KEPT)
    return tables.chosen(runs), runs


def test_the_page_says_what_the_kept_table_gives():
    page = (DOCS / "momentum-family.md").read_text(encoding="utf-8")
    chosen, runs = kept()
    found = list(claims(chosen, runs))
    # Each for both participations, but for what delayed momentum is at one alone; and the rates.
    assert len(found) == 2 * (len(COMPARISONS) + 1) - 1
    for table in (table_of(found), tables.overview(chosen, "worker_momentum")):
        assert as_markdown(table) in page


def test_the_kept_table_is_whole_and_small():
    chosen, runs = kept()
    assert len(chosen) == 21 * 2 * 4 * 5 and len(runs) == 4 * len(chosen)
    assert not runs.duplicated([*tables.CELL, "learning_rate", "seed"]).any()
    assert Path(KEPT).stat().st_size < 100_000
