"""The grid command: what it selects, resumes, survives and tells."""

import dataclasses
import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.commands.grid import Options, select
from experiments.distributed_momentum.grid.cells import cells, paper_cells
from experiments.distributed_momentum.grid.programs import (
    Run,
    hyperparameters_of,
    programs,
    schedule_of,
)
from experiments.distributed_momentum.grid.rules import rule_of
from experiments.distributed_momentum.grid.settings import PAPER, SETTINGS
from experiments.distributed_momentum.running import campaign
from simbyz import aggregators, data, records
from tests.support import fake_runs
from tests.support.compiled import compiled
from tests.support.fake_runs import FEW, FEW_ARGUMENTS
from tests.support.printed import assert_refused

# As the first results were written: a changed digest would orphan them.
FIRST_FILES = {
    "mnist-average-n_27-lr_0.5-seed_1-c6a05a688b.parquet",
    "mnist-little-median-f_24-lr_0.5-at_update-seed_1-4dbc68e59d.parquet",
    "fashionmnist-average-n_27-lr_0.5-seed_1-76b633f5f9.parquet",
    "cifar10-average-n_14-lr_0.01-nesterov-seed_1-d82b990968.parquet",
    "cifar10-empire-bulyan-f_5-lr_0.01-at_worker-nesterov-seed_5-e1378b17bb.parquet",
    "cifar100-little-krum-f_11-lr_0.001-at_update-seed_2-6da063905f.parquet",
}


class TestSelection:
    def test_the_whole_grid(self):
        runs = select(Options())
        assert len(runs) == len({run.file for run in runs}) == 3680
        assert {run.file for run in runs} >= FIRST_FILES
        assert runs[0].cell.dataset == "mnist"

    def test_at_most_60_programs(self):
        assert len(programs(select(Options()))) == 4 * (5 + 6 + 2)  # a rule at an f, or unattacked

    def test_digests_beside_the_grid_stay(self):
        files = {Run(cell, 1).file for cell in cells("digits") + cells("mnist", steps=50)}
        assert "digits-average-n_14-lr_0.5-seed_1-8465d737c1.parquet" in files
        assert "mnist-average-n_27-lr_0.5-steps_50-seed_1-2dbc48dd92.parquet" in files

    @pytest.mark.parametrize(
        ("options", "count"),
        [
            # per data set: 176 attacked configurations and 8 unattacked ones
            ({"dataset": ("cifar10",)}, 184 * 5),
            ({"attack": ("none",)}, 32 * 5),
            ({"attack": ("little",)}, 352 * 5),
            # attacks × rates × Nesterov × places, for f = 12 and f = 5 of four data sets
            ({"rule": ("bulyan",), "attack": ("little", "empire")}, 4 * 16 * 5),
            ({"rule": ("krum",), "dataset": ("mnist",)}, (2 * 16 + 8) * 5),
            ({"f": (24,)}, 2 * (5 * 16 + 4) * 5),
            ({"f": (5,), "attack": ("none",), "seeds": (1,)}, 2 * 4),
            ({"learning_rate": (0.5,), "nesterov": ("on",)}, 2 * (11 * 4 + 2) * 5),
            ({"momentum_at": ("worker",), "attack": ("empire",), "seeds": (7,)}, 4 * 11 * 4),
            ({"momentum_at": ("worker",), "dataset": ("mnist",), "seeds": (7,)}, 88 + 8),
        ],
    )
    def test_subsets(self, options, count):
        assert len(select(dataclasses.replace(Options(), **options))) == count

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--f 7", "the grid has no --f 7; it has 24, 12, 11, 5"),
            ("--learning-rate 0.3", "the grid has no --learning-rate 0.3; it has 0.5, 0.02, 0.01"),
            ("--rule bulyan --attack little --f 24", "no configuration of the grid has all"),
            ("--attack nan", "the grid has no --attack nan; it has none, little, empire"),
            ("--momentum-at server", "the grid has no --momentum-at server; it has update, worker"),
            ("--seeds -1", "seeds must be from 0"),
            ("--dataset mnist --f 11", "the grid has no --f 11; it has 24, 12"),
        ],
    )
    def test_what_the_grid_does_not_have(self, arguments, message, tmp_path, capsys):
        assert_refused(command, f"grid {arguments}", message, tmp_path, capsys)

    def test_an_unknown_command(self, capsys):
        assert command(["gird"]) == 2
        assert "known: grid, analyse, plot, collect, report, unfinished" in capsys.readouterr().err


class TestConventions:
    def test_only_krum_and_bulyan_are_other_runs(self):
        released = {run.file for run in select(Options())}
        published = select(Options(conventions="published"))
        other = [run for run in published if run.file not in released]
        assert {run.cell.rule for run in other} == {"krum", "bulyan"}
        assert len(other) == (8 + 4) * 16 * 5  # krum at each f, bulyan at the smaller one
        assert all(run.cell.name.endswith("-published") for run in other)
        assert not any(run.cell.in_paper for run in other)

    @pytest.mark.slower
    @pytest.mark.parametrize("name", ["krum", "bulyan"])
    def test_the_published_rule(self, name):
        stack = np.random.default_rng(0).normal(size=(11, 4)).astype(np.float32)
        rules = (
            rule_of(name, 11, 2, "published"),
            aggregators.AGGREGATORS[name],
            rule_of(name, 11, 2),
        )
        published, expected, released = (np.asarray(compiled(rule, f=2)(stack)) for rule in rules)
        np.testing.assert_array_equal(published, expected)
        assert np.any(released != expected)


@pytest.fixture
def simulated(monkeypatch):
    """`simulate` and `load` replaced: runs are written, not computed. Gives what was asked."""
    asked = []

    def simulate(runs, dataset, folder, progress, **options):
        for run in runs:
            asked.append(run)
            progress(run.cell.steps, run.cell.rule)
            if run.cell.name in failing:
                raise RuntimeError("out of memory\nand more")
            fake_runs.write(folder, run, 0.9)

    failing: set[str] = set()
    digits = data.load("digits")
    monkeypatch.setattr(campaign, "simulate", simulate)
    monkeypatch.setattr(data, "load", lambda name, data_dir: digits)
    return asked, failing


class TestRunning:
    def test_goes_on_where_it_stopped(self, simulated, tmp_path, capsys):
        asked, _ = simulated
        runs = select(FEW)
        for run in runs[:3]:
            fake_runs.write(tmp_path, run, 0.5)
        assert command(["grid", *FEW_ARGUMENTS, "--results", str(tmp_path)]) == 0
        assert sorted(run.file for run in asked) == sorted(run.file for run in runs[3:])
        assert command(["grid", *FEW_ARGUMENTS, "--results", str(tmp_path)]) == 0
        assert len(asked) == len(runs) - 3
        assert "nothing to run: 8 runs on disk" in capsys.readouterr().out
        # They have no parameters beside them.
        asked.clear()
        arguments = [*FEW_ARGUMENTS, "--save-parameters", "--results", str(tmp_path)]
        assert command(["grid", *arguments]) == 0
        assert len(asked) == len(runs)

    def test_a_damaged_run_is_named_set_aside_and_computed_again(self, simulated, tmp_path, capsys):
        asked, _ = simulated
        runs = select(FEW)
        for run in runs:
            fake_runs.write(tmp_path, run, 0.9)
        path = tmp_path / runs[2].file
        content = path.read_bytes()
        damaged = content[:300] + bytes([content[300] ^ 4]) + content[301:]
        path.write_bytes(damaged)
        with pytest.warns(RuntimeWarning) as told:
            assert command(["grid", *FEW_ARGUMENTS, "--results", str(tmp_path)]) == 0
        lines = {str(one.message) for one in told}
        assert lines == {
            f"skipped {path}: its SHA-256 is wrong: it is damaged",
            f"set aside: {path} as {path.name}.damaged",
        }
        assert asked == [runs[2]] and path.read_bytes() == content
        assert path.with_name(f"{path.name}.damaged").read_bytes() == damaged
        assert len(records.read_runs(tmp_path)) == len(runs)
        assert command(["grid", *FEW_ARGUMENTS, "--results", str(tmp_path)]) == 0
        assert "nothing to run: 8 runs on disk" in capsys.readouterr().out
        # They have no parameters beside them.
        asked.clear()
        arguments = [*FEW_ARGUMENTS, "--save-parameters", "--results", str(tmp_path)]
        assert command(["grid", *arguments]) == 0
        assert len(asked) == len(runs)

    def test_survives_a_failing_cell(self, simulated, tmp_path, capsys):
        asked, failing = simulated
        name = "mnist-little-median-f_24-lr_0.5-at_worker"
        failing.add(name)
        assert command(["grid", *FEW_ARGUMENTS, "--results", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert f"failed: {name}: RuntimeError: out of memory\n" in error
        assert error.count("failed:") == 1
        finished = Counter(records.read_runs(tmp_path)["name"])
        assert sum(finished.values()) == 6
        assert name not in finished
        # What failed is tried again the next time, and nothing else.
        asked.clear()
        failing.clear()
        assert command(["grid", *FEW_ARGUMENTS, "--results", str(tmp_path)]) == 0
        assert {run.cell.name for run in asked} == {name}

    def test_a_full_disk_ends_it(self, simulated, tmp_path, capsys, monkeypatch):
        def full(*_):
            raise OSError("run x can't be written: No space left on device")

        monkeypatch.setattr(records, "write_run", full)
        assert command(["grid", *FEW_ARGUMENTS, "--results", str(tmp_path)]) == 1
        assert "No space left on device" in capsys.readouterr().err
        assert len(simulated[0]) == 1

    def test_stopped_by_hand(self, simulated, tmp_path, capsys, monkeypatch):
        def stopped(run_list, *_, **options):
            fake_runs.write(tmp_path, run_list[0], 0.9)
            raise KeyboardInterrupt

        monkeypatch.setattr(campaign, "simulate", stopped)
        assert command(["grid", *FEW_ARGUMENTS, "--results", str(tmp_path)]) == 130
        assert "the same command goes on from there" in capsys.readouterr().err
        assert len(records.read_runs(tmp_path)) == 1

    def test_a_plain_line_in_a_log(self, simulated, tmp_path, capsys):
        command(["grid", *FEW_ARGUMENTS, "--results", str(tmp_path)])
        captured = capsys.readouterr()
        assert re.search(
            r"^ +[0-9.]+ %, 0 s passed, about .* left \(mnist: median\)$", captured.err
        )
        assert "8 runs to do on 2 devices" in captured.out

    def test_recorded_runs_count_as_done_on_request(self, simulated, tmp_path):
        asked, _ = simulated
        elsewhere, table = tmp_path / "elsewhere", tmp_path / "runs.parquet"
        for run in select(FEW)[:5]:
            fake_runs.write(elsewhere, run, 0.5)
        assert command(["collect", "--results", str(elsewhere), "--table", str(table)]) == 0
        here = ["--results", str(tmp_path / "here"), "--table", str(table)]
        assert command(["grid", *FEW_ARGUMENTS, *here, "--skip-recorded"]) == 0
        assert len(asked) == 3

    def test_missing_data_is_the_users_mistake(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("SIMBYZ_CACHE", str(tmp_path / "cache"))
        arguments = [*FEW_ARGUMENTS, "--data-dir", str(tmp_path / "none")]
        assert command(["grid", *arguments, "--results", str(tmp_path / "results")]) == 2
        assert "mnist" in capsys.readouterr().err
        assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("dataset", "rate", "expected"),
    [
        ("cifar10", 0.01, [0.01, 0.01, 0.01 / (1 + 1500 / 167), 0.01 / (1 + 1500 / 167)]),
        ("cifar100", 0.001, [0.001] * 4),
    ],
)
def test_learning_rates_of_one_program(dataset, rate, expected):
    cell = next(cell for cell in paper_cells(dataset) if cell.learning_rate == rate)
    hyperparameters = hyperparameters_of(cell)
    schedule = jax.jit(schedule_of(cell))
    options = {name: jnp.float32(value) for name, value in hyperparameters.schedule.items()}
    got = [rate * float(schedule(jnp.int32(step), **options)) for step in (0, 1499, 1500, 2999)]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def small_mnist() -> data.Dataset:
    """Two classes of images that a network tells apart at once."""
    generator = np.random.default_rng(0)
    labels = np.arange(3000, dtype=np.int32) % 2
    images = generator.integers(0, 100, (3000, 7, 7, 1)) + 100 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    parts = images[:2500], labels[:2500], images[2500:], labels[2500:]
    return data.Dataset("mnist", *parts, 2, 255.0, (0.5,), (0.3,), False)


@pytest.mark.slower
def test_a_part_of_the_grid_from_runs_to_report(tmp_path, monkeypatch, capsys):
    """Real but short runs, with and without Nesterov; then all that is made of them."""
    dataset = small_mnist()
    short = dataclasses.replace(PAPER["mnist"], steps=20, batch_size=8)
    for settings in (PAPER, SETTINGS):
        monkeypatch.setitem(settings, "mnist", short)
    monkeypatch.setattr(data, "load", lambda name, data_dir: dataset)
    results, table = str(tmp_path / "results"), str(tmp_path / "runs.parquet")
    chosen = "--dataset mnist --rule median --f 24 --attack none empire --learning-rate 0.5"
    assert command(["grid", *chosen.split(), "--seeds", "1", "2", "--results", results]) == 0
    runs = records.read_runs(results)
    assert len(runs) == 2 * 2 * (1 + 2)  # seeds × Nesterov × (unattacked, places)
    assert (runs[runs["attack"] == "none"]["highest_accuracy"] > 0.9).all()
    steps = records.read_steps(results).set_index("name")
    name = "mnist-average-n_27-lr_0.5"
    plain, ahead = (steps.loc[n, "loss"].to_numpy() for n in (name, f"{name}-nesterov"))
    assert plain[0] == ahead[0] and plain[5] != ahead[5]
    report, docs = str(tmp_path / "REPORT.md"), str(tmp_path / "docs")
    for arguments in (
        ["analyse", "--results", results],
        ["plot", "--results", results, "--figures", str(tmp_path / "figures")],
        ["collect", "--results", results, "--table", table],
        ["report", "--table", table, "--report", report, "--figures", docs],
    ):
        assert command(arguments) == 0, arguments
    assert "12 of 3680 of the grid, seeds [1, 2]" in capsys.readouterr().out
    assert "On 4 of the grid's 1760 pairs." in (tmp_path / "REPORT.md").read_text()
