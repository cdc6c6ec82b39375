"""`analyse`, `plot` and `report` on a small part of the grid, from files that no run computed."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.analysis.pairs import pairs_of
from experiments.distributed_momentum.analysis.run_table import rows_of
from experiments.distributed_momentum.commands.grid import Options, select
from experiments.distributed_momentum.figures import curves, overview
from experiments.distributed_momentum.write_up.write_up import write_up
from tests.support import fake_runs


def part(**options):
    return Options(
        dataset=("mnist",),
        f=(12,),
        learning_rate=(0.5,),
        nesterov=("off",),
        seeds=(1, 2),
        **options,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """krum, median and bulyan under both attacks, krum and bulyan as published too; one run
    diverged.
    """
    folder = tmp_path_factory.mktemp("runs")
    chosen = part(rule=("krum", "median", "bulyan"))
    published = part(rule=("krum", "bulyan"), conventions="published")
    accuracy = {"none": 0.95, "little": 0.6, "empire": 0.5}
    for run in dict.fromkeys(select(chosen) + select(published)):
        better = 0.3 if run.cell.momentum_at == "worker" else 0.0
        diverges_at = 2 if run.cell.rule == "bulyan" and run.seed == 2 else None
        highest = accuracy[run.cell.attack] + better + 0.01 * run.seed
        fake_runs.write(folder, run, highest, diverges_at)
    return folder


class TestAnalyse:
    def test_on_a_part(self, folder, capsys):
        assert command(["analyse", "--results", str(folder)]) == 0
        output = capsys.readouterr().out
        assert "mnist 26 of 920, fashion_mnist 0 of 920" in output
        assert "everything, rules as released: 12 of 1760 pairs" in output
        assert "everything, rules as published: 8 of 1760 pairs" in output
        assert "attack costs > 20 %: 12 of 12 (100.0 %)" in output
        assert "supported: Where an attack costs more than 20 %" in output
        assert "condition of median, n = 51, f = 12, deviation / norm < 0.16: at some" in output
        assert "diverged: mnist-empire-bulyan-f_12-lr_0.5-at_update, seed 2, at step 2" in output

    @pytest.mark.slower
    def test_the_table_says_the_same(self, folder, tmp_path, capsys):
        command(["analyse", "--results", str(folder)])
        from_folder = capsys.readouterr().out
        table = str(tmp_path / "runs.parquet")
        command(["collect", "--results", str(folder), "--table", table])
        capsys.readouterr()
        assert command(["analyse", "--table", table]) == 0
        assert capsys.readouterr().out == from_folder

    @pytest.mark.parametrize("arguments", [["--results", "absent"], ["--table", "absent"]])
    def test_nothing_there(self, arguments, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert command(["analyse", *arguments]) == 2
        error = capsys.readouterr().err
        assert "absent" in error and error.count("\n") == 1

    def test_an_empty_folder(self, tmp_path, capsys):
        assert command(["analyse", "--results", str(tmp_path)]) == 2
        assert "no run to analyse" in capsys.readouterr().err


class TestFigures:
    @pytest.mark.thorough
    def test_every_figure_as_png_and_pdf(self, folder, tmp_path, capsys):
        figures, others = tmp_path / "figures", plt.get_fignums()
        assert command(["plot", "--results", str(folder), "--figures", str(figures)]) == 0
        names = {path.stem for path in figures.iterdir()}
        combination = "mnist-{}-f_12-lr_0.5"
        assert names == {
            combination.format("little"), combination.format("empire"),
            combination.format("little") + "-published",
            combination.format("empire") + "-published",
            "overview-mnist", "gain", "ratio-and-gain",
        }  # fmt: skip
        assert {path.suffix for path in figures.iterdir()} == {".png", ".pdf"}
        assert len(list(figures.iterdir())) == 2 * len(names)
        assert plt.get_fignums() == others  # all of its own are closed

    def test_folders_that_contradict_each_other(self, tmp_path, capsys):
        """The second one's runs were left out without a word."""
        (run,) = select(fake_runs.FEW)[:1]
        for name, highest in (("one", 0.5), ("two", 0.25)):
            fake_runs.write(tmp_path / name, run, highest)
        folders = [str(tmp_path / "one"), str(tmp_path / "two")]
        command_line = ["plot", "--figures", str(tmp_path / "figures"), "--results", *folders]
        assert command(command_line) == 2
        assert "another highest_accuracy: 0.5 there, 0.25 here" in capsys.readouterr().err

    def test_a_combination_has_a_column_a_rule_and_three_rows(self, folder):
        runs = rows_of(folder).assign(folder=str(folder))
        combination = next(curves.combinations(runs))
        assert len(combination.unattacked) == 2
        figure = curves.draw(combination)
        titles = [axes.get_title() for axes in figure.axes]
        assert titles[:3] == ["krum, f = 12", "median, f = 12", "bulyan, f = 12"]
        assert len(titles) == 9
        accuracy, ratio = figure.axes[1], figure.axes[7]
        # unattacked, update, worker; the same and the sampled ratio and the bound
        assert (len(accuracy.lines), len(ratio.lines)) == (3, 5)
        assert ratio.lines[-1].get_ydata()[0] == pytest.approx(1 / 39)  # the square of the bound
        plt.close(figure)

    def test_lines_differ_without_colour(self):
        styles = [style for _, style in curves.STYLES.values()]
        assert len(set(styles)) == len(styles)
        assert len({marker for _, marker in overview.MARKERS.values()}) == 6

    def test_boxes_have_no_empty_panel(self, folder):
        ((name, figure),) = overview.boxes(rows_of(folder))
        assert name == "overview-mnist"
        titles = [axes.get_title() for axes in figure.axes]
        assert titles == ["little, f = 12, rate 0.5", "empire, f = 12, rate 0.5"]
        labels = [text.get_text() for text in figure.axes[-1].get_xticklabels()]
        assert labels == ["krum", "median", "bulyan"]
        plt.close(figure)

    def test_the_heatmap_holds_the_mean_gains(self, folder):
        pairs = pairs_of(rows_of(folder))
        figure = overview.heatmap(pairs[pairs["conventions"] == "released"])
        values = figure.axes[0].images[0].get_array().filled(np.nan)
        assert values.shape == (11, 8)  # MNIST alone: five rules at f = 24, six at f = 12
        assert "nothing of fashion_mnist, cifar10, cifar100 was run" in figure.axes[0].get_title()
        assert np.isfinite(values).sum() == 6  # three rules, two attacks
        np.testing.assert_allclose(values[np.isfinite(values)], 30)
        # As in curves: blue where momentum at the workers is ahead, orange at the update.
        image = figure.axes[0].images[0]
        for value, place in ((-30, "update"), (30, "worker")):
            shade = image.cmap(image.norm(value))
            np.testing.assert_allclose(shade, to_rgba(curves.STYLES[place][0]), atol=0.01)
        plt.close(figure)


class TestReport:
    @pytest.mark.slower
    def test_written_with_its_pictures(self, folder, tmp_path, capsys):
        table, report = tmp_path / "runs.parquet", tmp_path / "REPORT.md"
        command(["collect", "--results", str(folder), "--table", str(table)])
        arguments = ["report", "--table", str(table), "--report", str(report)]
        arguments += ["--figures", str(tmp_path / "figures")]
        assert command(arguments) == 0
        first = report.read_text()
        pictures = list((tmp_path / "figures").glob("*.png"))
        assert len(pictures) == 3
        assert all(picture.stat().st_size < 200_000 for picture in pictures)
        assert all(f"(figures/{picture.name})" in first for picture in pictures)

    def test_sections(self, folder):
        text = write_up(rows_of(folder), {}, folder)
        assert text == write_up(rows_of(folder).sample(frac=1, random_state=0), {}, folder)
        assert "| mnist | 26 of 920 | 13 of 184 | 300 | cpu |" in text
        assert "On 12 of the grid's 1760 pairs." in text
        assert "counts include fashion_mnist, cifar10, cifar100, of which no pair" in text
        done = "2 of 10 | 8 of 40 | 8 of 40 | 0 of 40 | 0 of 40 | 0 of 40 | 8 of 20 |"
        assert f"| mnist, 0.5 | {done}" in text
        assert "## Krum and Bulyan as published" in text
        assert "| krum | released | 4 |" in text and "| krum | published | 4 |" in text
        assert "diverged: mnist-empire-bulyan" in text
        assert "| mnist, f = 12, median, empire, 0.5 | 2 |" in text
        # Every line of a table has as many cells as its head.
        tables = [block for block in text.split("\n\n") if block.startswith("|")]
        assert len(tables) >= 6
        for block in tables:
            rows = [line for line in block.strip().splitlines() if "---" not in line]
            assert len({row.count(" | ") for row in rows}) == 1

    def test_sections_without_runs_are_left_out(self, folder):
        runs = rows_of(folder)
        unattacked = runs[runs["attack"] == "none"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            text = write_up(unattacked, {}, folder)
        assert "not decided by this data" in text
        assert "## Effective attacks" not in text
        assert "published" not in text.replace("as published", "")

    def test_what_contradicts_the_claim_is_listed(self, folder):
        runs = rows_of(folder)
        assert "not mended" not in write_up(runs, {}, folder)  # all gain 0.3
        which = (runs["rule"] == "median") & (runs["attack"] == "empire") & (runs["seed"] == 1)
        runs.loc[which & (runs["momentum_at"] == "worker"), "highest_accuracy"] = 0.12
        runs.loc[which & (runs["momentum_at"] == "update"), "highest_accuracy"] = 0.13
        text = write_up(runs, {}, folder)
        row = "| mnist, f = 12, median, empire, 0.5 | 1 of 2 | 96.0 | 13.0 | 12.0 |"
        assert row in text
        assert "1 of these 1 pairs stay within 5 points of guessing" in text

    def test_reduced_runs_are_called_so(self, folder):
        runs = rows_of(folder)
        reduced = {"name": "cifar10-short", "file": "short", "dataset": "cifar10", "steps": 60}
        other = runs.iloc[:1].assign(in_paper=False, notice="made up", **reduced)
        text = write_up(pd.concat([runs, other]), {}, folder)
        assert "| `cifar10-short` | 1 | reduced, 60 of 3000 |" in text
        assert "\nNote: made up\n" in text
        assert "| cifar10 | 0 of 920 |" in text
        assert "Beside the grid" not in write_up(runs, {}, folder)

    def test_no_runs(self, tmp_path, capsys):
        assert command(["report", "--table", str(tmp_path / "none.parquet")]) == 2
        assert "`collect` puts some there" in capsys.readouterr().err

    def test_a_folder_in_place_of_the_page(self, tmp_path, capsys):
        assert command(["report", "--report", str(tmp_path)]) == 2
        assert f"--report must be a file, got the folder {tmp_path}" in capsys.readouterr().err
