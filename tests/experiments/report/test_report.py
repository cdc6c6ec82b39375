"""The explorable page: what is gathered for it, its commands, and the page in a real browser."""

import base64
import dataclasses
import json
import os
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tyro

from experiments.distributed_momentum.commands import appendix
from experiments.distributed_momentum.commands.grid import select
from experiments.distributed_momentum.grid.cells import cells, paper_cells
from experiments.distributed_momentum.grid.settings import APPENDIX, PAPER
from experiments.distributed_momentum.options.compare import Options
from experiments.report import sheets
from experiments.report.__main__ import command
from experiments.report.commands import cell_of, command_of
from experiments.report.curves import COLUMNS, MISSING, MOST_POINTS, curves_of, encode
from experiments.report.gather import gather
from simbyz import records
from simbyz.records.checked_files import write_checked
from simbyz.records.parquet import CONFIGURATION, SUMMARY
from simbyz.simulator.metrics import Metrics
from tests.support import fake_runs
from tests.support.made_up_results import DIVERGES_AT, fill, grid, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("results"))


class TestCommands:
    def test_a_command_gives_its_cell(self):
        """Parsed as the experiment parses it: a sample of the paper's grid and what is beside."""
        found = [cell for dataset in PAPER for cell in paper_cells(dataset)[::29]]
        found += cells("mnist", rules=["krum"], attacks=["little"], conventions="published")
        found += cells("digits", attacks=["nan"], places=["server"], n=12, f=[2], momentum=0.5)
        found += cells("cifar10", attacks=["none"], n=30, f=[3], steps=7, learning_rates=[0.003])
        assert len(found) > 30
        for cell in found:
            line = command_of(cell)
            assert line.startswith("python -m experiments.distributed_momentum ")
            options = tyro.cli(Options, args=[*line.split()[3:], "--seeds", "4"])
            assert options.seeds == (4,)
            again = cells(
                options.dataset,
                rules=options.rule or None,
                attacks=options.attack,
                places=options.momentum_at,
                nesterov=[value == "on" for value in options.nesterov],
                learning_rates=options.learning_rate,
                n=options.n,
                f=options.f,
                conventions=options.conventions,
                momentum=options.momentum,
                batch_size=options.batch_size,
                steps=options.steps,
            )
            assert again == [cell]

    def test_a_command_of_the_appendix(self):
        found = cells("cifar10", nesterov=(True,), own=APPENDIX)
        found += cells("cifar10", nesterov=(True,), own=APPENDIX, depth=10, width=1, steps=3)
        for cell in found:
            line = command_of(cell)
            assert line.startswith("python -m experiments.distributed_momentum appendix ")
            options = tyro.cli(appendix.Options, args=line.split()[4:])
            assert [run.cell for run in appendix.select(options)] == [cell] * 5

    def test_settings_that_are_no_options_have_no_command(self):
        cell = grid("mnist")[0]
        assert command_of(dataclasses.replace(cell, clip=3.0)) is None
        assert command_of(dataclasses.replace(cell, dataset="other")) is None

    def test_a_cell_comes_back_from_disk(self, tmp_path):
        there = [*cells("cifar10", learning_rates=(0.01, 0.001))[:3], *grid("mnist")]
        there += cells("mnist", rules=["krum"], attacks=["little"], conventions="published")
        there += cells("cifar10", nesterov=(True,), own=APPENDIX, depth=10, width=1, steps=3)
        for cell in there:
            write(tmp_path, cell, 1, 0.5)
        rows = records.read_runs(tmp_path).to_dict("records")
        assert {cell_of(row) for row in rows} == set(there)
        assert cell_of({"name": "other", "seed": 1}) is None

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("dataset", "mnist; touch X #"),
            ("rule", "median; touch X #"),
            ("rule", ["median"]),
            ("attack", "little$(touch X)"),
            ("momentum_at", "worker\ntouch X"),
            ("conventions", "published`touch X`"),
            ("precision", "x"),
            ("n", "51; touch X"),
            ("n", [51]),
            ("n", 50.5),
            ("f", True),
            ("learning_rate", "0.5; touch X"),
            ("momentum", "0.9 #"),
            ("steps", None),
            ("batch_size", {"a": 1}),
            ("nesterov", "on; touch X"),
            ("certify", 1),
            ("unusual", 7),
            ("unusual", ["x"]),
            ("drops", "8000"),
            ("depth", "28;"),
            ("seed", "1; touch X"),
            ("seed", 1.5),
            ("seed", -1),
        ],
    )
    def test_what_the_experiment_does_not_know_has_no_command(self, tmp_path, field, value):
        """A file may come from anywhere, and what stands beside the button goes into a shell."""
        cell = grid("mnist")[1]
        kept = write(tmp_path, cell, 1, 0.5)
        metadata = pq.read_schema(kept).metadata
        forged = json.loads(metadata[CONFIGURATION]) | {field: value}
        content = pq.read_table(kept)
        metadata |= {CONFIGURATION: json.dumps(forged)}
        write_checked(tmp_path / "forged.parquet", content.replace_schema_metadata(metadata), "run")
        said = []
        page = gather([tmp_path], tell=said.append)
        assert page["runs"]["seed"] == [1]
        assert ["forged.parquet" in line and "left out" in line for line in said] == [True]
        assert "touch" not in json.dumps(page)

    @pytest.mark.parametrize("value", ["0.9", None, [1], {"a": 1}])
    def test_an_accuracy_that_is_no_number(self, tmp_path, value):
        kept = write(tmp_path, grid("mnist")[1], 1, 0.5)
        metadata = pq.read_schema(kept).metadata
        metadata |= {SUMMARY: json.dumps({"highest_accuracy": value})}
        write_checked(kept, pq.read_table(kept).replace_schema_metadata(metadata), "run")
        assert gather([tmp_path])["runs"]["highest_accuracy"] == [None]

    def test_words_that_a_shell_would_read_are_in_no_command(self):
        cell = dataclasses.replace(grid("mnist")[1], rule="median; touch X #")
        assert command_of(dataclasses.replace(cell, unusual=("steps_20",))) is None


def table(columns):
    size = len(columns["step"])
    return pd.DataFrame({name: np.ones(size) for name in COLUMNS} | columns)


class TestCurves:
    def test_a_point_is_the_mean_up_to_the_next(self):
        rng = np.random.default_rng(0)
        loss = rng.lognormal(size=11)
        loss[-1] = np.nan
        deviation, norm = rng.lognormal(size=(2, 11))
        accuracy = np.full(11, np.nan)
        accuracy[[0, 5, 10]] = 0.1, 0.2, 0.3
        steps = {"step": np.arange(11), "accuracy": accuracy, "loss": loss}
        steps |= {"honest_deviation": deviation, "honest_norm": norm}
        curves = curves_of(table(steps))
        assert curves.steps.tolist() == [0, 5, 10]
        np.testing.assert_array_equal(curves.values["accuracy"], [0.1, 0.2, 0.3])
        for first, got in zip((0, 5), curves.values["loss"], strict=False):
            geometric = np.prod(loss[first : first + 5]) ** (1 / 5)
            assert 10**got == pytest.approx(geometric)
        assert np.isnan(curves.values["loss"][2])
        ratios = (deviation / norm) ** 2
        assert 10 ** curves.values["honest_ratio"][1] == pytest.approx(
            np.prod(ratios[5:10]) ** (1 / 5)
        )
        assert curves.diverged is None

    def test_many_evaluations_are_thinned_and_the_last_stays(self):
        size = 12 * MOST_POINTS
        curves = curves_of(table({"step": np.arange(size), "accuracy": np.linspace(0, 1, size)}))
        assert len(curves.steps) <= MOST_POINTS + 1
        assert curves.steps[-1] == size - 1
        assert curves.values["accuracy"][-1] == 1

    @pytest.mark.parametrize("column", ["loss", "distance_from_start"])
    def test_the_step_of_divergence(self, column):
        steps = table({"step": np.arange(10)})
        steps.loc[4:, column] = np.inf
        curves = curves_of(steps)
        assert curves.diverged == 4
        name = {"distance_from_start": "distance"}.get(column, column)
        np.testing.assert_array_equal(np.isnan(curves.values[name]), np.arange(10) >= 4)

    def test_encoding(self):
        values = np.random.default_rng(0).normal(size=500)
        values[::7] = np.nan
        packed = encode([values[:200], values[200:]])
        codes = np.frombuffer(base64.b64decode(packed["codes"]), "<u2")
        unit = (packed["high"] - packed["low"]) / (MISSING - 1)
        back = np.where(codes == MISSING, np.nan, packed["low"] + codes * unit)
        np.testing.assert_allclose(back, values, atol=0.51 * unit)

    @pytest.mark.parametrize("value", [3.0, np.nan])
    def test_encoding_what_does_not_vary(self, value):
        packed = encode([np.full(4, value)])
        codes = np.frombuffer(base64.b64decode(packed["codes"]), "<u2")
        assert set(codes) == {MISSING if np.isnan(value) else 0}
        assert np.isnan(value) or packed["low"] == value


class TestGather:
    def test_what_is_there(self, folder):
        content = gather([folder])
        assert json.loads(json.dumps(content, allow_nan=False)) == content
        # data sets × Nesterov × (unattacked + rules × attacks × places)
        assert len(content["configurations"]) == 2 * 2 * (1 + 2 * 2 * 2)
        assert len(content["comparisons"]) == 2 * 2 * 2 * 2
        assert len(content["runs"]["seed"]) == 2 * len(content["configurations"])
        for comparison in content["comparisons"]:
            at = {name: content["configurations"][i] for name, i in comparison["at"].items()}
            assert {name: one["place"] for name, one in at.items()} == {
                "update": "update", "worker": "worker"
            }  # fmt: skip
            reference = content["configurations"][comparison["reference"]]
            assert (reference["attack"], reference["n"]) == ("none", 39)
            assert reference["nesterov"] == at["update"]["nesterov"] == at["worker"]["nesterov"]
        diverged = content["runs"]["diverged"]
        assert [step for step in diverged if step is not None] == [DIVERGES_AT]

    def test_a_run_in_two_folders_is_one(self, folder, tmp_path):
        file = min(folder.glob("*.parquet"))
        shutil.copy(file, tmp_path)
        assert len(gather([folder, tmp_path])["runs"]["seed"]) == 72

    def test_the_same_run_of_other_code_or_with_another_result(self, tmp_path):
        """In the second folder: it was left out without a word, as if it were equal."""
        (run,) = select(dataclasses.replace(fake_runs.FEW, rule=("median",), seeds=(1,)))[:1]
        fake_runs.write(tmp_path / "old", run, 0.5, code="old")
        fake_runs.write(tmp_path / "new", run, 0.25, code="new")
        folders, told = [tmp_path / "old", tmp_path / "new"], []
        with pytest.raises(ValueError, match="different code: 1 of code new .*, 1 of code old"):
            gather(folders)
        content = gather(folders, allow_mixed=True, tell=told.append)
        assert content["runs"]["highest_accuracy"] == [0.5]
        assert len(told) == 1 and told[0].startswith("left out 1 files of runs that an earlier")
        assert str(tmp_path / "new") in told[0]

    def test_a_folder_without_runs_is_named(self, folder, tmp_path):
        with pytest.raises(ValueError, match=f"no run of .* in {tmp_path}"):
            gather([folder, tmp_path])

    def test_what_can_t_be_shown_is_named_and_left_out(self, tmp_path):
        cell = grid("mnist")[0]
        kept, damaged, cut = (write(tmp_path, cell, seed, 0.5) for seed in (1, 2, 3))
        content = damaged.read_bytes()
        damaged.write_bytes(content[:50] + bytes([content[50] ^ 255]) + content[51:])
        cut.write_bytes(cut.read_bytes()[:-9])
        other = records.write_run(tmp_path, "other", {"seed": 1}, {"step": np.arange(2)}, {})
        said = []
        assert gather([tmp_path], tell=said.append)["runs"]["seed"] == [1]
        for path in (damaged, cut, other):
            assert sum(path.name in line for line in said) == 1, path
        assert not any(kept.name in line for line in said)


class TestCommandLine:
    def test_absent_folder(self, tmp_path, capsys):
        assert command([str(tmp_path / "none")]) == 2
        assert capsys.readouterr().err == f"error: there is no results folder {tmp_path}/none\n"

    def test_empty_folder(self, tmp_path, capsys):
        assert command([str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: no run of an experiment that has a page in {tmp_path}: ")
        pages = error.strip().partition("pages of ")[2].split(", ")
        assert len(pages) == 1 + len(sheets.SHEETS) and error.count("\n") == 1
        assert not list(tmp_path.iterdir())

    def test_a_page_that_can_t_be_written(self, folder, tmp_path, capsys):
        (tmp_path / "file").write_text("")
        assert command([str(folder), "--output", str(tmp_path / "file" / "page.html")]) == 2
        error = capsys.readouterr().err
        assert "--output" in error
        assert error.count("\n") == 1

    def test_a_link_to_a_page_stays_one_and_a_pipe_too(self, folder, tmp_path, capsys):
        page, link, pipe = (tmp_path / name for name in ("page.html", "link.html", "pipe.html"))
        page.write_text("earlier")
        link.symlink_to(page)
        os.mkfifo(pipe)
        assert command([str(folder), "--output", str(link)]) == 0
        assert link.is_symlink() and page.read_text() != "earlier"
        assert command([str(folder), "--output", str(pipe)]) == 2
        assert "it is a device or a pipe; give another with --output" in capsys.readouterr().err
        assert pipe.is_fifo()

    def test_a_name_that_looks_like_html_stays_text(self, tmp_path):
        (cell,) = cells("mnist", rules=["median"], attacks=["little"], places=["worker"], f=[12])
        cell = dataclasses.replace(cell, unusual=("</script><b>",))
        odd = {**cell.configuration(1)}
        columns = {name: np.ones(3) for name in Metrics._fields if name != "own"} | {
            "step": np.arange(3)
        }
        records.write_run(tmp_path, "odd", odd, columns, {"highest_accuracy": 0.5})
        assert command([str(tmp_path)]) == 0
        assert "</script><b>" not in (tmp_path / "report.html").read_text()
