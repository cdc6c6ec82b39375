"""The page on MNIST follows from the table that is kept, and its claims from plain loops."""

import re

import numpy as np
import pytest

from experiments.decentralised import page
from simbyz import records
from tests.support.paths import DOCS

RULES = ("clipped_gossip", "clipped_gossip_plus", "gts", "ios")
ATTACKS = ("dissensus", "empire_around", "little_around", "spectral_heterogeneity")
RUNS = page.read()
ROWS = RUNS.to_dict("records")
TEXT = (DOCS / "without-a-server-mnist.md").read_text(encoding="utf-8")


def accuracy(rule, f, attack, seed, column="test_accuracy"):
    (row,) = (
        row
        for row in ROWS
        if (row["rule"], row["f"], row["attack"], row["seed"]) == (rule, f, attack, seed)
    )
    return row[column]


def seeds_of(rule):
    return sorted({row["seed"] for row in ROWS if row["rule"] == rule})


def test_the_page_says_what_the_kept_table_says():
    assert page.page(RUNS) == TEXT


def test_the_kept_table_is_whole_and_small():
    for rule in RULES:
        of_rule = RUNS[RUNS["rule"] == rule]
        assert len(of_rule) == len(seeds_of(rule)) * (1 + 5 * 4)
    assert set(RUNS["rule"]) == set(RULES) and len(seeds_of("gts")) >= 2
    assert not RUNS.duplicated(page.CASE).any() and RUNS["code_digest"].nunique() == 1
    assert page.KEPT.stat().st_size < 60_000
    assert set(RUNS["dataset"]) == {"mnist"} and set(RUNS["honest"]) == {26}
    # Eight friends in the other world: the cut of the two worlds is the bottleneck, 2 · 8.
    assert page.connectivity(RUNS) == pytest.approx(16)


def test_runs_of_another_setting_leave_the_kept_table_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "KEPT", tmp_path / "kept.parquet")
    page.write_checked(page.KEPT, page.pa.Table.from_pandas(RUNS), "table")
    before = page.KEPT.read_bytes()
    folder = tmp_path / "results"
    for row, changes in ((ROWS[0], {"dataset": "digits"}), (ROWS[1], {"honest": 8})):
        configuration = {name: row[name] for name in (*page.SETTING, *page.TRAINING, *page.CASE)}
        summary = {name: row[name] for name in page.OUTCOME}
        records.write_run(folder, "other", configuration | changes, {"step": np.arange(2)}, summary)
    with pytest.raises(ValueError, match="no run in .*results is of the page's setting"):
        page.keep(folder)
    records.write_run(folder, "own", configuration, {"step": np.arange(2)}, summary)
    assert page.KEPT.read_bytes() == before
    page.keep(folder)
    assert page.read().equals(RUNS.iloc[[1]].reset_index(drop=True))


def test_each_cell_of_the_worst_cases_by_hand():
    lines = TEXT.partition("## Under the worst")[2].partition("## ")[0].splitlines()
    columns = re.findall(r"`(\w+)`", next(line for line in lines if line.startswith("| f |")))
    assert set(columns) == set(RULES)
    for f in (2, 4, 6, 8, 10):
        (line,) = (line for line in lines if line.startswith(f"| {f} |"))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1] == ("below" if f < 8 else "equal" if f == 8 else "above")
        for rule, cell in zip(columns, cells[2:], strict=True):
            seeds = seeds_of(rule)
            means = {a: np.mean([accuracy(rule, f, a, s) for s in seeds]) for a in ATTACKS}
            worst = min(means, key=means.__getitem__)
            node = np.mean([accuracy(rule, f, worst, s, "worst_accuracy") for s in seeds])
            named = worst.replace("_", " ")
            assert cell == f"{100 * means[worst]:.1f} ({100 * node:.1f}), {named}"


def test_the_claims_by_hand():
    seeds = seeds_of("gts")
    assert seeds == seeds_of("clipped_gossip_plus")
    free = {
        s: np.mean([row["test_accuracy"] for row in ROWS if row["f"] == 0 and row["seed"] == s])
        for s in seeds
    }

    def least(rule, f, seed):
        return min(accuracy(rule, f, attack, seed) for attack in ATTACKS)

    def mean_gap(attack, seed):
        gaps = [
            accuracy("clipped_gossip_plus", f, attack, seed) - accuracy("gts", f, attack, seed)
            for f in (2, 4, 6)
        ]
        return np.mean(gaps)

    def lost(f, seed):
        return free[seed] - least("clipped_gossip_plus", f, seed)

    worst = max(lost(f, s) for f in (2, 4, 6) for s in seeds)
    broken = [lost(10, s) for s in seeds]
    gaps = {
        f: [least("clipped_gossip_plus", f, s) - least("gts", f, s) for s in seeds]
        for f in (2, 4, 6)
    }
    widest = gaps[max(gaps, key=lambda f: np.mean(gaps[f]))]
    bottleneck = all(
        mean_gap("spectral_heterogeneity", s) > max(mean_gap(a, s) for a in ATTACKS[:3])
        for s in seeds
    )
    expected = [worst <= 0.05, min(broken) > 0.05, min(widest) > 0.05, bottleneck]
    found = page.claims(RUNS)
    assert [one.verdict for one in found] == [
        "agree" if agrees else "do not agree" for agrees in expected
    ]
    assert found[0].found.startswith(f"loses {100 * worst:.1f} points at most")
    low, high = 100 * min(broken), 100 * max(broken)
    assert found[1].found == f"loses {low:.1f} to {high:.1f} points"
    low, high = 100 * min(widest), 100 * max(widest)
    assert found[2].found.startswith(f"{low:.1f} to {high:.1f} points")
