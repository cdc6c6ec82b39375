"""Pages of experiments that end in one table: what is gathered for them, by hand."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

from experiments.attack_strength.__main__ import SMOKE as STRENGTH
from experiments.benchmark.entries.parts import PARTS, part_of
from experiments.benchmark.entries.parts import RANKING as RULES
from experiments.benchmark.results import KEPT, read_table, write_table
from experiments.decentralised.runs import Run as DecentralisedRun
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


def write(folder, run, accuracy, loss=1.5):
    columns = {"step": np.arange(3), "loss": np.ones(3), "distance_from_start": np.ones(3)}
    summary = {"validation_accuracy": accuracy, "test_accuracy": accuracy, "training_loss": loss}
    records.write_run(folder, run.name, run.configuration, columns, summary | provenance())


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


def test_a_run_in_two_folders_is_one(matrix, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(matrix, other, dirs_exist_ok=True)
    write(other, dataclasses.replace(RUN, seed=3), 0.5)
    one, both = gather(MATRIX, [matrix]), gather(MATRIX, [matrix, other])
    assert (one["count"], both["count"]) == (12, 13)
    assert both["rows"][1:] == one["rows"][1:]


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


def test_without_a_server(tmp_path):
    for attack, accuracy in (("little", 0.5), ("zero", 0.7)):
        for seed in (1, 2):
            run = DecentralisedRun(
                **{name: getattr(RUN, name, 1) for name in SHARED},
                placement="spread",
                graph="ring",
                attack=attack,
                seed=seed,
            )
            summary = {"test_accuracy": accuracy + 0.01 * seed, "worst_accuracy": 0.4}
            summary |= {"best_accuracy": 0.8, "consensus_distance": 2.0, "byzantine_share": 0.1}
            columns = {"step": np.arange(2)}
            records.write_run(tmp_path, run.name, run.configuration, columns, summary)
    assert sheet_of(tmp_path) is GRAPHS
    (row,) = gather(GRAPHS, [tmp_path])["rows"]
    assert row["test_accuracy"] == pytest.approx(0.515) and row["worst_attack"] == "little"
    assert row["worst_node"] == pytest.approx(0.4) and row["graph"] == "ring"


def test_other_folders_are_of_no_sheet(tmp_path):
    assert sheet_of(tmp_path) is None
    columns = {"step": np.arange(2)}
    records.write_run(tmp_path, "other", {"seed": 1, "rule": "median"}, columns, {})
    assert sheet_of(tmp_path) is None
