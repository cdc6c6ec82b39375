"""Pages of experiments that end in one table: what is gathered for them, by hand."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from experiments.attack_strength.__main__ import SMOKE as STRENGTH
from experiments.benchmark.entries.parts import PARTS, part_of
from experiments.benchmark.entries.parts import RANKING as RULES
from experiments.benchmark.results import KEPT, read_table, write_table
from experiments.decentralised.runs import Run as DecentralisedRun
from experiments.defence_matrix.choose import CERTIFIED
from experiments.defence_matrix.runs import Run
from experiments.report.__main__ import command
from experiments.report.sheets import SHEETS, gather, sheet_of
from simbyz import records
from simbyz.records.provenance import provenance

MATRIX, STRENGTHS, RANKING, GRAPHS = SHEETS
RUN = Run(
    dataset="digits",
    honest=10,
    steps=3,
    batch_size=16,
    hidden=4,
    validation=0.2,
    evaluations=12,
    partition_seed=0,
    rule="median",
    pre="none",
    f=1,
    heterogeneity="iid",
    attack="mimic",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    seed=1,
)
SHARED = {field.name for field in dataclasses.fields(DecentralisedRun)} - {
    *("placement", "graph", "attack", "seed")
}


def write(folder, run, accuracy, loss=1.5, **more):
    columns = {"step": np.arange(3), "loss": np.ones(3), "distance_from_start": np.ones(3)}
    summary = {"validation_accuracy": accuracy, "test_accuracy": accuracy, "training_loss": loss}
    records.write_run(folder, run.name, run.configuration, columns, summary | provenance() | more)


@pytest.fixture
def matrix(tmp_path):
    """f = 1, 2 and 10, two attacks and two seeds: mimic is worse by ten points."""
    for f in (10, 2, 1):
        for attack, worse in (("mimic", 0.1), ("min_max", 0.0)):
            for seed in (1, 2):
                run = dataclasses.replace(RUN, f=f, attack=attack, seed=seed)
                write(tmp_path, run, 0.9 - 0.02 * f - worse + 0.01 * seed)
    return tmp_path


def test_the_matrix(matrix):
    assert sheet_of(matrix) is MATRIX
    content = gather(MATRIX, [matrix])
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    rows = content["rows"]
    assert [row["f"] for row in rows] == [1, 2, 10]
    assert [row["test_accuracy"] for row in rows] == pytest.approx([0.795, 0.775, 0.615])
    assert [row["deviation"] for row in rows] == pytest.approx(3 * [0.01 / math.sqrt(2)])
    assert {row["worst_attack"] for row in rows} == {"mimic"}
    assert {row["pre"] for row in rows} == {"alone"}
    assert content["panel"] == ["rule"]
    assert "12 runs" in content["shown"] and "steps 3" in content["shown"]


def test_settings_that_differ_are_panels(matrix):
    write(matrix, dataclasses.replace(RUN, steps=7), 0.5, math.inf)
    content = gather(MATRIX, [matrix])
    assert content["panel"] == ["steps", "rule"]
    (own,) = [row for row in content["rows"] if row["steps"] == 7]
    assert own["test_accuracy"] == 0.5 and own["training_loss"] == "infinite"
    assert own["deviation"] is None and own["diverged"] == 1


def test_a_certified_run_does_not_count_its_seed_twice(matrix):
    """Of accuracies a and a + 0.01 the deviation is 0.01 / √2; of each twice it would be less."""
    for seed in (1, 2):
        run = dataclasses.replace(RUN, seed=seed, certify=True)
        write(matrix, run, 0.9 - 0.02 - 0.1 + 0.01 * seed, **dict.fromkeys(CERTIFIED, 1.0))
    content = gather(MATRIX, [matrix])
    rows = [row for row in content["rows"] if row["f"] == 1]
    assert content["panel"] == ["certify", "rule"]
    assert sorted(row["certify"] for row in rows) == [0, 1]
    assert [row["deviation"] for row in rows] == pytest.approx(2 * [0.01 / math.sqrt(2)])


def test_a_run_in_two_folders_is_one(matrix, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(matrix, other, dirs_exist_ok=True)
    write(other, dataclasses.replace(RUN, seed=3), 0.5)
    one, both = gather(MATRIX, [matrix]), gather(MATRIX, [matrix, other])
    assert (one["count"], both["count"]) == (12, 13)
    assert both["rows"][1:] == one["rows"][1:]


def test_the_same_runs_of_other_code_are_refused(matrix, tmp_path_factory):
    """Those of the second folder were left out without a word, as if they were equal."""
    other = tmp_path_factory.mktemp("other")
    write(other, dataclasses.replace(RUN, f=1, attack="mimic", seed=1), 0.5, code_digest="other")
    with pytest.raises(ValueError, match="runs of different code"):
        gather(MATRIX, [matrix, other])
    assert gather(MATRIX, [matrix, other], allow_mixed=True)["count"] == 12


def test_folders_of_other_experiments_are_named(matrix, tmp_path_factory, capsys):
    other = tmp_path_factory.mktemp("other")
    assert command([str(matrix), str(other / "none")]) == 2
    assert capsys.readouterr().err == f"error: there is no results folder {other / 'none'}\n"
    for order in ((matrix, other), (other, matrix)):
        assert command([str(folder) for folder in order]) == 2
        assert "don't hold runs of the same experiment" in capsys.readouterr().err


def test_the_first_file_may_be_damaged(matrix):
    min(matrix.glob("*.parquet")).write_bytes(b"")
    assert sheet_of(matrix) is MATRIX


def test_runs_of_other_code_are_refused(matrix, capsys):
    other = dataclasses.replace(RUN, seed=9)
    columns = {"step": np.arange(3), "loss": np.ones(3), "distance_from_start": np.ones(3)}
    summary = {"validation_accuracy": 0.5, "test_accuracy": 0.5, "training_loss": 1.0}
    summary |= provenance() | {"code_digest": "other"}
    records.write_run(matrix, other.name, other.configuration, columns, summary)
    assert command([str(matrix)]) == 2
    assert "runs of different code" in capsys.readouterr().err
    assert command([str(matrix), "--allow-mixed"]) == 0


def test_strengths(tmp_path):
    """Means and deviations over the recorded steps, by hand."""
    for rule, factor in (("median", 1.0), ("krum", 2.0)):
        measured = [
            {"attack": "zero", "kind": "fixed", "step": step, "strength": factor * s, "cosine": c}
            for step, s, c in ((0, 1.0, 0.5), (1, 3.0, 0.7))
        ]
        configuration = {"dataset": "digits", "rule": rule, "n": 5, "f": 1, "seed": 1}
        configuration |= {"send": STRENGTH.send, "at_step": [0, 1], "iterations": 2, "climbers": 1}
        summary = {"measured": measured} | provenance()
        records.write_run(tmp_path, rule, configuration, {"step": np.arange(2)}, summary)
    assert sheet_of(tmp_path) is STRENGTHS
    rows = {row["rule"]: row for row in gather(STRENGTHS, [tmp_path])["rows"]}
    assert rows["median"]["strength"] == 2 and rows["krum"]["strength"] == 4
    assert rows["krum"]["strength_deviation"] == pytest.approx(2 * math.sqrt(2))
    assert rows["median"]["cosine"] == pytest.approx(0.6)
    assert command([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "<title>How far each attack moves each rule</title>" in page


def test_the_benchmark(tmp_path):
    """Two rules of those kept: the least over attacks, at the better learning rate."""
    runs = part_of(PARTS[RULES], read_table(KEPT / "digits.parquet"))
    runs = runs[runs["rule"].isin(["median", "krum"]) & (runs["f"] == 2)]
    (tmp_path / "runs").mkdir()
    write_table(runs, tmp_path / "runs" / "some.parquet")
    assert sheet_of(tmp_path) is RANKING
    content = gather(RANKING, [tmp_path])
    assert content["count"] == len(runs)
    means = runs.groupby(["rule", "heterogeneity", "learning_rate", "attack"])
    worst = means[["validation_accuracy", "test_accuracy"]].mean()
    for row in content["rows"]:
        of_rates = worst.loc[row["rule"], row["heterogeneity"]].groupby("learning_rate").min()
        best = of_rates.loc[of_rates["validation_accuracy"].idxmax(), "test_accuracy"]
        assert row["test_accuracy"] == pytest.approx(best)
    assert len(content["rows"]) == 2 * runs["heterogeneity"].nunique()


def test_a_rule_with_other_examples_at_the_server_is_a_row_of_its_own(tmp_path):
    """Means by hand; of a rule of one's own that was changed, the later runs count."""
    runs = part_of(PARTS[RULES], read_table(KEPT / "digits.parquet"))
    runs = runs[(runs["rule"] == "median") & (runs["f"] == 2) & (runs["heterogeneity"] == "iid")]
    runs = runs[(runs["learning_rate"] == 0.5) & (runs["attack"] == "none")]
    both = []
    for rule, root, source, accuracy in (
        ("median", 0, "", 0.5),
        ("fltrust", 20, "", 0.6),
        ("fltrust", 60, "", 0.7),
        ("mine:rule", 0, "first", 0.1),
        ("mine:rule", 0, "second", 0.2),
    ):
        changed = {"rule": rule, "root_examples": root, "source": source}
        both.append(runs.assign(**changed, test_accuracy=accuracy, validation_accuracy=accuracy))
    (tmp_path / "runs").mkdir()
    write_table(pd.concat(both), tmp_path / "runs" / "some.parquet")
    rows = {row["rule"]: row["test_accuracy"] for row in gather(RANKING, [tmp_path])["rows"]}
    assert rows == pytest.approx(
        {
            "median": 0.5,
            "fltrust, 20 root examples": 0.6,
            "fltrust, 60 root examples": 0.7,
            "mine:rule": 0.2,
        }
    )


def write_graphs(folder, **changes):
    for attack, accuracy in (("little", 0.5), ("zero", 0.7)):
        for seed in (1, 2):
            run = DecentralisedRun(
                **{name: getattr(RUN, name, 1) for name in SHARED} | changes,
                placement="spread",
                graph="ring",
                attack=attack,
                seed=seed,
            )
            summary = {"test_accuracy": accuracy + 0.01 * seed, "worst_accuracy": 0.4}
            summary |= {"best_accuracy": 0.8, "consensus_distance": 2.0, "byzantine_share": 0.1}
            columns = {"step": np.arange(2)}
            records.write_run(folder, run.name, run.configuration, columns, summary)


def test_runs_that_are_evaluated_more_often_are_others(tmp_path):
    """Of 0.51 and 0.52 the deviation is 0.01 / √2; of each twice it would be less."""
    for every in (1, 3):
        write_graphs(tmp_path, evaluate_every=every)
    rows = gather(GRAPHS, [tmp_path])["rows"]
    assert [row["evaluate_every"] for row in rows] == [1, 3]
    assert [row["deviation"] for row in rows] == pytest.approx(2 * [0.01 / math.sqrt(2)])


def test_without_a_server(tmp_path):
    write_graphs(tmp_path)
    assert sheet_of(tmp_path) is GRAPHS
    (row,) = gather(GRAPHS, [tmp_path])["rows"]
    assert row["test_accuracy"] == pytest.approx(0.515) and row["worst_attack"] == "little"
    assert row["worst_node"] == pytest.approx(0.4) and row["graph"] == "ring"


def test_other_folders_are_of_no_sheet(tmp_path):
    assert sheet_of(tmp_path) is None
    columns = {"step": np.arange(2)}
    records.write_run(tmp_path, "other", {"seed": 1, "rule": "median"}, columns, {})
    assert sheet_of(tmp_path) is None
