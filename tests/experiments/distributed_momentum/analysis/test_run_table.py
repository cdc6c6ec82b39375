"""The table of runs: what is derived from steps, and how tables are merged and kept."""

import math
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.analysis import run_table
from experiments.distributed_momentum.analysis.run_table import (
    gather,
    merge,
    read_table,
    results_of,
    rows_of,
    write_table,
)
from experiments.distributed_momentum.commands.grid import Options, select
from experiments.distributed_momentum.figures.curves import read_steps
from experiments.distributed_momentum.options.work import TABLE
from simbyz import records
from simbyz.records.checked_files import KEY
from tests.support import fake_runs

RUNS = select(
    Options(
        dataset=("mnist",),
        rule=("median",),
        f=(24,),
        learning_rate=(0.5,),
        nesterov=("off",),
        seeds=(1, 2),
    )
)


def steps(**columns) -> pd.DataFrame:
    frame = pd.DataFrame(fake_runs.columns(0.9))
    return frame.assign(**columns)


class TestResults:
    def test_means_leave_the_last_row_out(self):
        got = results_of(steps(), "median", 51, 24)
        assert got["mean_log_honest_ratio"] == pytest.approx(2 * math.log(2))
        assert got["mean_log_sampled_deviation"] == pytest.approx(math.log(2))
        assert got["mean_log_honest_deviation"] == pytest.approx(math.log(3))
        assert math.isnan(got["diverged_step"])

    def test_a_step_counts_where_the_loss_is_at_most_the_first(self):
        bound = 1 / math.sqrt(27)
        got = results_of(
            steps(
                loss=[2.0, 2.0, 2.1, 0.5, math.nan],
                honest_deviation=[0.9 * bound, 1.1 * bound, 0.1 * bound, 0.5 * bound, math.nan],
                honest_norm=[1.0] * 5,
            ),
            "median",
            51,
            24,
        )
        assert got["bound"] == pytest.approx(bound)
        assert got["counted_steps"] == 3  # not the third
        assert got["condition_steps"] == 2  # the first and the fourth

    def test_the_condition_is_strict(self):
        bound = run_table.VARIANCE_NORM_BOUNDS["median"](51, 24)
        got = results_of(
            steps(honest_deviation=[bound] * 5, honest_norm=[1.0] * 5), "median", 51, 24
        )
        assert got["condition_steps"] == 0

    def test_rules_without_a_bound(self):
        got = results_of(steps(), "phocas", 51, 24)
        assert math.isnan(got["bound"])
        assert math.isnan(got["condition_steps"])
        assert got["counted_steps"] == 4

    def test_a_diverged_run(self):
        frame = pd.DataFrame(fake_runs.columns(0.1, diverges_at=2))
        got = results_of(frame, "median", 51, 24)
        assert got["diverged_step"] == 2
        assert got["mean_log_honest_ratio"] == pytest.approx(2 * math.log(2))  # before it
        assert got["counted_steps"] == 2
        infinite = pd.DataFrame(fake_runs.columns(0.1)).assign(loss=np.inf)
        assert results_of(infinite, "median", 51, 24)["diverged_step"] == 0
        assert math.isnan(results_of(infinite, "median", 51, 24)["mean_log_honest_ratio"])


@pytest.fixture
def folder(tmp_path):
    for run in RUNS[:3]:
        fake_runs.write(tmp_path / "runs", run, 0.8)
    fake_runs.write(tmp_path / "runs", RUNS[3], 0.1, diverges_at=1)
    return tmp_path / "runs"


class TestTable:
    def test_written_and_read_back(self, folder, tmp_path):
        rows = rows_of(folder)
        assert len(rows) == 4
        assert set(rows["file"]) == {run.file for run in RUNS[:4]}
        assert rows["in_paper"].all()
        write_table(rows, tmp_path / "new" / "runs.parquet")
        pd.testing.assert_frame_equal(read_table(tmp_path / "new" / "runs.parquet"), rows)
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["runs.parquet"]

    def test_of_no_runs(self, tmp_path):
        (tmp_path / "empty").mkdir()
        empty = rows_of(tmp_path / "empty")
        assert empty.empty and list(empty.columns) == list(run_table.COLUMNS)
        pd.testing.assert_frame_equal(merge(empty, empty), empty)

    def test_the_same_run_twice_is_one(self, folder):
        rows = rows_of(folder)
        again = rows.assign(wall_seconds=99.0)  # computed again, on another day
        pd.testing.assert_frame_equal(merge(rows, again), rows)

    def test_merging_is_of_sets(self, folder):
        rows = rows_of(folder)
        pd.testing.assert_frame_equal(merge(rows[:3], rows[1:]), merge(rows[2:], rows))

    def test_another_result_of_the_same_run_is_refused_by_name(self, folder):
        rows = rows_of(folder)
        other = rows.assign(highest_accuracy=rows["highest_accuracy"] + 1e-4)
        with pytest.raises(ValueError, match=r"mnist-average-n_27-lr_0.5, seed 1, is in the table"):
            merge(rows, other)

    def test_3680_rows_are_small(self, folder, tmp_path):
        rows = rows_of(folder)
        many = pd.concat([rows] * 920, ignore_index=True)
        generator = np.random.default_rng(0)
        for name in run_table.RESULTS:
            many[name] = generator.normal(size=len(many))
        many["file"] = [f"{i:010x}{file}" for i, file in enumerate(many["file"])]
        write_table(many, tmp_path / "many.parquet")
        assert (tmp_path / "many.parquet").stat().st_size < 5e6

    def test_a_file_that_is_no_table(self, tmp_path):
        path = tmp_path / "runs.parquet"
        path.write_bytes(b"PAR1 and so on")
        with pytest.raises(ValueError, match="is no table of runs"):
            read_table(path)
        pd.DataFrame({"a": [1]}).to_parquet(path)
        with pytest.raises(ValueError, match="it has no column"):
            read_table(path)

    def test_a_flipped_bit_is_told(self, folder, tmp_path):
        path = tmp_path / "runs.parquet"
        write_table(rows_of(folder), path)
        content, generator = path.read_bytes(), np.random.default_rng(0)
        footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        name = range(content.rindex(KEY), content.rindex(KEY) + len(KEY))
        places = [*range(4, footer, 41), *generator.integers(footer, len(content), 60).tolist()]
        for place in set(places) - set(name):
            damaged = bytearray(content)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=f"{path} is no table of runs: .* is damaged"):
                read_table(path)

    def test_a_table_from_before_there_were_digests(self, folder, tmp_path):
        path, rows = tmp_path / "runs.parquet", rows_of(folder)
        rows.to_parquet(path)
        pd.testing.assert_frame_equal(read_table(path), rows)
        assert command(["collect", "--results", str(folder), "--table", str(path)]) == 0
        assert KEY in pq.read_metadata(path).metadata

    def test_the_kept_table_is_one(self):
        table = read_table(TABLE)
        assert KEY in pq.read_metadata(TABLE).metadata
        assert list(table.columns) == list(run_table.COLUMNS)
        assert table["file"].is_unique
        if TABLE.exists():
            assert TABLE.stat().st_size < 5e6
            known = {run.file for run in select(Options())}
            in_grid = table[table["in_paper"] & ~table["name"].str.contains("-lr_pow")]
            assert set(in_grid["file"]) <= known


class TestRenamed:
    def test_counts_once_beside_a_folder_with_its_own_name(self, folder, tmp_path):
        (tmp_path / "more").mkdir()
        kept, *_ = sorted(folder.iterdir())
        shutil.copy(kept, tmp_path / "more" / "of another name.parquet")
        alone = rows_of(folder)
        for folders in ([folder, tmp_path / "more"], [tmp_path / "more", folder]):
            pd.testing.assert_frame_equal(gather(folders), alone)

    def test_its_curve_is_read(self, folder):
        runs = rows_of(folder).assign(folder=str(folder))
        before = read_steps(runs)
        min(folder.iterdir()).rename(folder / "another.parquet")  # still the first
        pd.testing.assert_frame_equal(rows_of(folder).assign(folder=str(folder)), runs)
        pd.testing.assert_frame_equal(read_steps(runs), before)


class TestCollect:
    def test_adds_what_is_new(self, folder, tmp_path, capsys):
        table = tmp_path / "runs.parquet"
        for _ in range(2):
            assert command(["collect", "--results", str(folder), "--table", str(table)]) == 0
        output = capsys.readouterr().out
        assert "4 runs, 4 of them new" in output
        assert "4 runs, 0 of them new" in output

    def test_a_contradiction_leaves_the_table_as_it_was(self, folder, tmp_path, capsys):
        table = tmp_path / "runs.parquet"
        command(["collect", "--results", str(folder), "--table", str(table)])
        before = table.read_bytes()
        fake_runs.write(tmp_path / "other", RUNS[0], 0.7)
        assert (
            command(["collect", "--results", str(tmp_path / "other"), "--table", str(table)]) == 2
        )
        error = capsys.readouterr().err
        assert RUNS[0].cell.name in error and error.count("\n") == 1
        assert table.read_bytes() == before

    def test_runs_of_other_experiments_are_left_out_by_name(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "both")
        columns = {"step": np.arange(2), "loss": np.ones(2)}
        other = records.write_run(tmp_path / "both", "other", {"seed": 1}, columns, {})
        # As of the defence matrix with certificates, which has these columns and no n.
        columns = fake_runs.columns(0.9)
        certified = {"seed": 1, "dataset": "digits", "rule": "faba", "f": 1, "honest": 5}
        records.write_run(tmp_path / "both", "third", certified, columns, {})
        with pytest.warns(RuntimeWarning, match=f"left out 2 of .* such as {other.name}"):
            rows = rows_of(tmp_path / "both")
        pd.testing.assert_frame_equal(rows, rows_of(folder))

    def test_no_folder(self, tmp_path, capsys):
        missing = str(tmp_path / "none")
        assert command(["collect", "--results", missing, "--table", str(tmp_path / "t")]) == 2
        assert missing in capsys.readouterr().err
