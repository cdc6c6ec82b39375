"""A grid's plan and what it tells: the dry run, its estimates, the progress."""

import io

import pytest
from matplotlib.figure import Figure

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.commands.compare import Results, plot
from experiments.distributed_momentum.commands.grid import select
from experiments.distributed_momentum.figures import comparison
from experiments.distributed_momentum.grid import footprint
from experiments.distributed_momentum.grid.cells import cells, paper_cells
from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.grid.settings import PAPER
from experiments.distributed_momentum.running import estimate
from experiments.distributed_momentum.running.campaign import plan, together
from experiments.distributed_momentum.running.dry_run import print_widths
from experiments.shared.mixing import refuse_mixed
from experiments.shared.progress import Progress, duration
from simbyz import records
from tests.support import fake_runs
from tests.support.fake_runs import FEW, FEW_ARGUMENTS
from tests.support.printed import printed

REFERENCE = "mnist-average-n_39-lr_0.5"


def test_rates_that_agree_in_six_digits_are_runs_of_their_own(tmp_path, monkeypatch):
    """Names, files and pictures: one must not take the place of the other, nor be refused."""
    rates = (0.1, 0.10000000001)
    grid = cells("digits", rules=["median"], attacks=["little"], f=[5], learning_rates=rates)
    assert len({cell.name for cell in grid}) == len(grid) == 2 * 2
    runs = [Run(cell, 1) for cell in grid]
    refuse_mixed(together(runs, tmp_path))
    for run in runs:
        fake_runs.write(tmp_path, run, 0.5)
    refuse_mixed(records.read_runs(tmp_path))
    table, steps = comparison.read(tmp_path, grid, [1])
    found = comparison.compare(table, grid)
    assert found["learning_rate"].tolist() == list(rates)
    for name in ("plot_accuracy", "plot_ratio"):
        monkeypatch.setattr(comparison, name, lambda *_: Figure(figsize=(1, 1)))
    pictures = plot(Results(table, steps, found, grid), tmp_path)
    assert len(set(pictures)) == len(pictures) == 2 * 2 * 2


class TestDryRun:
    def test_lists_and_computes_nothing(self, tmp_path, capsys):
        run = select(FEW)[0]
        fake_runs.write(tmp_path, run, 0.5)
        assert command(["grid", *FEW_ARGUMENTS, "--results", str(tmp_path), "--dry-run"]) == 0
        output = capsys.readouterr().out
        assert "7 runs of 4 configurations to do, 1 on disk, 0 recorded" in output
        assert "2 compiled programs" in output
        assert "1 runs" in output and "table" in output  # where the times come from
        assert max(map(len, output.splitlines())) <= 100
        assert len(list(tmp_path.iterdir())) == 1

    def test_what_runs_lack_to_be_compared_is_said_first(self, tmp_path, capsys):
        arguments = ["grid", "--dataset", "mnist", "--rule", "median", "--f", "12", "--seeds", "1"]
        arguments += ["--learning-rate", "0.5", "--nesterov", "off", "--results", str(tmp_path)]
        assert command([*arguments, "--attack", "little", "--dry-run"]) == 0
        (note, *_) = capsys.readouterr().out.splitlines()
        lacking = "note: 1 runs that these are compared with are lacking: add"
        assert note == f"{lacking} --attack none"
        (reference,) = (cell for cell in paper_cells("mnist") if cell.name == REFERENCE)
        fake_runs.write(tmp_path, Run(reference, 1), 0.9)
        assert command([*arguments, "--attack", "little", "--dry-run"]) == 0
        assert "note" not in capsys.readouterr().out
        update_alone = ["--attack", "none", "little", "--momentum-at", "update", "--dry-run"]
        assert command([*arguments, *update_alone]) == 0
        (note, *_) = capsys.readouterr().out.splitlines()
        assert note == f"{lacking} --momentum-at worker"

    def test_time_from_finished_runs(self, tmp_path):
        run = select(FEW)[0]
        fake_runs.write(tmp_path, run, 0.5)
        seconds, source = estimate.seconds_from(tmp_path)
        assert seconds(run) == pytest.approx(1.5)  # what the finished run took
        assert source(run) == "1 runs"
        other = next(run for run in select(FEW) if run.cell.rule == "trmean")
        assert seconds(other) == estimate.from_table(other.cell)
        assert source(other) == "table"

    def test_every_cell_has_an_estimate(self):
        for dataset in PAPER:
            for cell in paper_cells(dataset):
                assert 1 < estimate.from_table(cell) < 1e5
                assert 1e7 < footprint.memory_of(cell, 1, "cpu") < 1e10
                assert footprint.memory_of(cell, 5, "gpu") > footprint.memory_of(cell, 1, "cpu")

    def test_dimensions_are_the_papers(self):
        found = {dataset: footprint.dimension(paper_cells(dataset)[0]) for dataset in PAPER}
        assert found == {
            "mnist": 79_510,
            "fashion_mnist": 79_510,
            "cifar10": 1_310_922,
            "cifar100": 2_384_036,
        }

    def test_as_many_runs_at_once_as_fit_and_are_worth_it(self):
        dense, conv = paper_cells("mnist")[1], paper_cells("cifar10")[1]
        assert footprint.lanes_per_device(dense, "cpu", 10**12) == 1
        assert footprint.lanes_per_device(dense, "gpu", 10**12) == 40
        assert footprint.lanes_per_device(conv, "gpu", 10**12) == 5
        assert footprint.lanes_per_device(conv, "gpu", 10**6) == 1  # and may fail there
        for cell in (dense, conv):
            width = footprint.lanes_per_device(cell, "gpu", 10**9)
            if width > 1:
                assert footprint.memory_of(cell, width, "gpu") <= footprint.SHARE * 10**9

    def test_widths_are_told_before_a_run(self):
        shown = printed(print_widths, [Run(paper_cells("mnist")[1], 1)])
        assert "mnist krum n=51 f=24: 1 runs at once a device, at least" in shown


class TestProgress:
    def test_time_left_counts_fresh_work_only(self):
        progress = Progress(100, done=40, file=io.StringIO(), every=0)
        progress.add(20, "median")
        line = progress.line(progress._began + 60, "median")
        # 20 of the 60 left took a minute: two more.
        assert line == " 60.0 %, 60 s passed, about 2 min left (median)"

    def test_a_terminal_gets_a_bar_with_the_time_left_and_what_goes_on(self):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        progress = Progress(100, file=terminal)
        progress.add(50, "mnist: median, accuracy 0.931")
        progress._bar.refresh()
        progress.close()
        last = terminal.getvalue().split("\r")[-1]
        assert last.startswith(" 50.0 % |") and " passed, " in last and " left" in last
        assert "accuracy 0.931" in last

    def test_nothing_or_little_fresh_yet(self):
        progress = Progress(100, done=40, file=io.StringIO())
        assert "time left unknown" in progress.line(progress._began + 5, "compiling")
        progress.add(0.5, "median")  # behind a program's compilation, which is no pace
        assert "time left unknown" in progress.line(progress._began + 240, "median")
        progress.add(0.5, "median")
        assert "about 3.9 h left" in progress.line(progress._began + 240, "median")

    def test_lines_are_rare(self):
        log = io.StringIO()
        progress = Progress(100, file=log, every=3600)
        for _ in range(50):
            progress.add(1, "median")
        assert log.getvalue().count("\n") == 1

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(5, "5 s"), (600, "10 min"), (3 * 3600, "3.0 h"), (86400 * 3, "3.0 days")],
    )
    def test_durations(self, seconds, text):
        assert duration(seconds) == text


def test_plan_prefers_what_is_on_disk(tmp_path):
    runs = select(FEW)
    fake_runs.write(tmp_path, runs[0], 0.5)
    what = plan(runs, tmp_path, frozenset(run.file for run in runs[:2]))
    assert what.on_disk == runs[:1]
    assert what.recorded == runs[1:2]
    assert what.todo == runs[2:]
