"""The paper's experiment: its grid, its command line, and a small run from end to end."""

import dataclasses
import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.distributed_momentum.__main__ import SMOKE, Options, command, main, plot, prepare
from experiments.distributed_momentum.figures import comparison
from experiments.distributed_momentum.grid.cells import (
    cells,
    paper_cells,
    paper_names,
    reference_of,
)
from experiments.distributed_momentum.grid.programs import (
    ATTACKS,
    Run,
    little_or_empire,
    programs,
    task_of,
)
from experiments.distributed_momentum.grid.settings import PAPER
from experiments.distributed_momentum.running.simulate import is_finished, simulate
from experiments.shared.formats import Printer
from simbyz import attacks, data, records
from tests.support.paths import ROOT, SHARED
from tests.support.printed import assert_refused, printed


def paper_grid():
    return [cell for dataset in PAPER for cell in paper_cells(dataset)]


class TestGrid:
    def test_736_configurations_704_of_them_attacked(self):
        grid = paper_grid()
        assert len(grid) == len({cell.name for cell in grid}) == 736
        assert Counter(cell.attack for cell in grid) == {"none": 32, "little": 352, "empire": 352}
        assert set(Counter(cell.dataset for cell in grid).values()) == {184}
        attacked = Counter((cell.dataset, cell.f) for cell in grid if cell.attack != "none")
        for dataset, large, small in (("mnist", 24, 12), ("cifar100", 11, 5)):
            # rules × attacks × learning rates × Nesterov × places
            assert attacked[dataset, large] == 5 * 2 * 2 * 2 * 2
            assert attacked[dataset, small] == 6 * 2 * 2 * 2 * 2
        assert all(cell.in_paper for cell in grid)

    def test_names_are_the_released_program_s(self):
        names = paper_names("mnist") | paper_names("fashion_mnist") | paper_names("cifar10")
        assert "mnist-average-n_27-lr_0.5" in names
        assert "mnist-little-bulyan-f_12-lr_0.5-at_worker" in names
        assert "fashionmnist-empire-trmean-f_24-lr_0.02-at_update-nesterov" in names
        assert "cifar10-little-krum-f_11-lr_0.001-at_worker" in names
        assert not any("bulyan-f_24" in name for name in names)

    def test_settings(self):
        mnist = next(cell for cell in paper_grid() if cell.dataset == "mnist")
        assert dataclasses.asdict(mnist) == {
            "dataset": "mnist", "rule": "average", "attack": "none", "n": 27, "f": 0,
            "momentum_at": "update", "nesterov": False, "learning_rate": 0.5, "refresh": None,
            "decay": 167, "momentum": 0.9, "batch_size": 83, "steps": 300, "l2": 1e-8, "clip": 2.0,
            "evaluate_every": 5, "curvature_window": 150, "unusual": (),
            "conventions": "released", "drops": (), "depth": 0, "width": 0, "precision": "default",
            "certify": False,
        }  # fmt: skip
        cifar = next(cell for cell in paper_grid() if cell.name.startswith("cifar10-little-bulyan"))
        assert (cifar.n, cifar.f, cifar.batch_size, cifar.steps) == (25, 5, 50, 3000)
        assert (cifar.momentum, cifar.l2, cifar.clip) == (0.99, 1e-4, 5.0)
        assert (cifar.learning_rate, cifar.refresh, cifar.curvature_window) == (0.01, 1500, 25)
        assert cifar.evaluate_every == 100

    def test_the_reference_of_an_attacked_cell_is_in_the_grid(self):
        grid = paper_grid()
        names = {cell.name for cell in grid}
        assert {reference_of(cell).name for cell in grid if cell.attack != "none"} < names

    def test_what_the_paper_does_not_have_is_named(self):
        (cell,) = cells(
            "mnist", rules=["median"], attacks=["little"], places=["worker"], f=[24], steps=50
        )
        assert cell.name == "mnist-little-median-f_24-lr_0.5-at_worker-steps_50"
        assert not cell.in_paper
        (other,) = cells(
            "mnist",
            rules=["bulyan"],
            attacks=["nan"],
            places=["server"],
            f=[7],
            learning_rates=[0.1],
        )
        assert not other.in_paper

    def test_every_learning_rate_has_every_rule(self):
        """At small scale, where each rule is run at one f."""
        one, two = (
            Counter(c.rule for c in cells("digits", learning_rates=r)) for r in ([0.5], [0.5, 0.1])
        )
        assert set(one) == {"average", "krum", "median", "trmean", "phocas", "meamed", "bulyan"}
        assert two == {rule: 2 * count for rule, count in one.items()}

    def test_settings_that_are_numbers_only_share_a_program(self):
        grid = cells("mnist", learning_rates=(0.5, 0.02))
        # a rule at an f, and the unattacked run with n - f workers
        assert len(programs(Run(cell, 1) for cell in grid)) == 5 + 6 + 2


@pytest.mark.parametrize("name", ["little", "empire"])
def test_both_attacks_by_two_numbers(name):
    honest = jnp.asarray(np.random.default_rng(0).normal(size=(7, 5)), jnp.float32)
    attack = {"little": attacks.a_little_is_enough, "empire": attacks.fall_of_empires}[name]
    got = little_or_empire(jax.random.key(0), honest, 2, **ATTACKS[name][1])
    np.testing.assert_allclose(got, attack(jax.random.key(0), honest, 2), rtol=1e-6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    options = dataclasses.replace(SMOKE, results=folder)
    return options, main(options)


class TestSmallRun:
    def test_one_row_a_run_and_one_a_step(self, finished):
        options, results = finished
        assert len(results.runs) == 2 * (1 + 2 * 2)  # seeds × (unattacked + rules × places)
        assert len(results.steps) == len(results.runs) * (options.steps + 1)
        assert results.runs["highest_accuracy"].between(0, 1).all()
        unattacked = results.runs[results.runs["attack"] == "none"]
        assert (unattacked["n"] == 6).all()
        assert (unattacked["highest_accuracy"] > 0.5).all()

    def test_a_run_carries_what_defines_it(self, finished):
        _, results = finished
        row = results.runs.iloc[0]
        for name in (
            "seed",
            "rule",
            "jax_version",
            "device_platform",
            "wall_seconds",
            "vmap_width",
        ):
            assert name in row, name

    def test_the_comparison_holds_means_of_the_runs(self, finished):
        _, results = finished
        row = results.comparison.set_index("rule").loc["median"]
        runs = results.runs[(results.runs["rule"] == "median")].set_index("seed")
        at = {
            place: runs[runs["momentum_at"] == place]["highest_accuracy"]
            for place in ("update", "worker")
        }
        assert row["update"] == pytest.approx(at["update"].mean())
        assert row["gain"] == pytest.approx((at["worker"] - at["update"]).mean())
        assert row["gain_deviation"] == pytest.approx((at["worker"] - at["update"]).std())

    def test_the_table_fits_100_columns(self, finished):
        _, results = finished
        assert "median" in printed(comparison.print_table, results.comparison, "title")

    def test_the_table_fits_a_terminal_of_80_columns(self, finished):
        _, results = finished
        text = io.StringIO()
        whole = dict.fromkeys(["unattacked", "update", "worker", "gain"], 0.888)
        table = results.comparison.assign(
            **whole, **{f"{name}_deviation": 0.111 for name in whole}, rule="trmean", f=24
        )
        comparison.print_table(table, "title", Printer(width=80, file=text))
        assert "+88.8 ± 11.1" in text.getvalue() and "…" not in text.getvalue()
        assert max(map(len, text.getvalue().splitlines())) <= 80

    def test_pictures(self, finished, tmp_path):
        _, results = finished
        files = plot(results, tmp_path)
        assert [file.name for file in files] == [
            "digits-lr_0.5-accuracy.png", "digits-lr_0.5-accuracy.pdf",
            "digits-lr_0.5-ratio.png", "digits-lr_0.5-ratio.pdf",
        ]  # fmt: skip
        starts = {".png": b"\x89PNG", ".pdf": b"%PDF"}
        assert all(file.read_bytes().startswith(starts[file.suffix]) for file in files)

        # The same steps are not drawn again; others are, and so is what was lost in part.
        written = [file.stat().st_mtime_ns for file in files]
        assert plot(results, tmp_path) == files
        assert [file.stat().st_mtime_ns for file in files] == written
        files[3].unlink()
        plot(results, tmp_path)
        assert files[3].exists() and files[0].stat().st_mtime_ns == written[0]
        before = files[0].read_bytes()
        other = results.steps.assign(accuracy=1 - results.steps["accuracy"])
        plot(results._replace(steps=other), tmp_path)
        assert files[0].read_bytes() != before
        # One honest worker has no deviation, and so no ratio to draw.
        alone = results._replace(steps=results.steps.assign(honest_deviation=np.nan))
        assert plot(alone, tmp_path / "alone") == [tmp_path / "alone" / f.name for f in files[:2]]

    def test_what_is_finished_is_not_run_again(self, finished, monkeypatch):
        options, results = finished
        monkeypatch.setattr(
            "experiments.distributed_momentum.running.simulate.sweep",
            lambda *a, **k: pytest.fail("ran"),
        )
        again = main(options)
        assert again.comparison.equals(results.comparison)

    def test_a_relative_folder(self, finished, monkeypatch):
        options, results = finished
        monkeypatch.chdir(options.results.parent)
        again = main(dataclasses.replace(options, results=Path(options.results.name)))
        assert len(again.steps) == len(results.steps)

    def test_a_missing_run_alone_gives_the_same_bits(self, finished, tmp_path):
        options, _ = finished
        runs, dataset = prepare(dataclasses.replace(options, results=tmp_path))
        chosen = next(run for run in runs if run.cell.momentum_at == "worker" and run.seed == 2)
        simulate([chosen], dataset, tmp_path, save_parameters=True)
        alone = records.read_steps(tmp_path)
        in_sweep = records.read_steps(options.results)
        same = in_sweep[(in_sweep["name"] == chosen.cell.name) & (in_sweep["seed"] == 2)]
        for column in ("loss", "honest_norm", "accuracy"):
            np.testing.assert_array_equal(alone[column].to_numpy(), same[column].to_numpy())
        # What it trained is beside it, and has the accuracy of its last row.
        trained = records.read_parameters(tmp_path, chosen.file)
        task = task_of(chosen.cell, dataset)
        accuracy = task.accuracy(task.data, trained["parameters"], {}, jax.random.key(0))
        assert float(accuracy) == pytest.approx(alone["accuracy"].iloc[-1], abs=1e-6)
        assert is_finished(tmp_path, chosen, with_parameters=True)
        records.parameters_path(
            tmp_path, chosen.cell.name, chosen.cell.configuration(chosen.seed)
        ).unlink()
        assert is_finished(tmp_path, chosen) and not is_finished(tmp_path, chosen, True)


class TestBadInput:
    """One clear line on standard error, exit code 2, nothing written."""

    CASES = {  # noqa: RUF012
        "f too large for krum": (
            "--rule krum --f 12",
            "krum needs n >= 2f + 3, got n=25, f=12",
        ),
        "f too large for bulyan": ("--rule bulyan --f 6", "bulyan needs n >= 4f + 3"),
        "an f that no rule bears": (
            "--f 3 13",
            "no rule bears f = 13 Byzantine workers of n = 25: give a smaller --f, or --n of more",
        ),
        "f = n": ("--f 25", "f must be from 0 to n - 1 = 24, got 25"),
        "negative f": ("--f -1", "f must be from 0 to n - 1 = 24, got -1"),
        "no worker": ("--n 0", "n must be at least 1, got 0"),
        "batch larger than the data": (
            "--batch-size 1438",
            "batch_size must be from 1 to 1437, the training images of digits, got 1438",
        ),
        "empty batch": ("--batch-size 0", "batch_size must be from 1 to 1437"),
        "no step": ("--steps 0", "steps must be at least 1, got 0"),
        "learning rate": ("--learning-rate -0.1", "learning_rate must be positive and finite"),
        "momentum": ("--momentum 1.5", "momentum must be from 0 to below 1 in float32, got 1.5"),
        "seed": ("--seeds -3", "seeds must be from 0"),
    }

    @pytest.mark.parametrize("case", CASES)
    def test_values(self, case, tmp_path, capsys):
        arguments, message = self.CASES[case]
        assert_refused(command, arguments, message, tmp_path, capsys)

    @pytest.mark.parametrize(
        ("arguments", "known"),
        [
            ("--rule kurm", "krum"),
            ("--attack big", "empire"),
            ("--dataset imagenet", "fashion_mnist"),
            ("--momentum-at client", "worker"),
            ("--steps many", "many"),
            ("--colour red", "colour"),
        ],
    )
    def test_unknown_names_list_the_known_ones(self, arguments, known, tmp_path, capsys):
        with pytest.raises(SystemExit) as exit_:
            command([*arguments.split(), "--results", str(tmp_path / "results")])
        assert exit_.value.code == 2
        output = capsys.readouterr()
        assert known in output.err + output.out
        assert not (tmp_path / "results").exists()

    @pytest.mark.parametrize("what", ["absent", "empty", "corrupt"])
    def test_data_folder(self, what, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("SIMBYZ_CACHE", str(tmp_path / "cache"))
        folder = tmp_path / "data"
        if what != "absent":
            folder.mkdir()
        if what == "corrupt":
            version = folder / "mnist" / "3.0.1"
            version.mkdir(parents=True)
            (version / "dataset_info.json").write_text("{ not json")
        arguments = ["--dataset", "mnist", "--data-dir", str(folder)]
        assert command([*arguments, "--results", str(tmp_path / "results")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert "mnist" in error
        assert error.count("\n") == 1
        assert not (tmp_path / "results").exists()

    def test_results_folder_that_cannot_be_written(self, tmp_path, capsys):
        (tmp_path / "file").write_text("")
        assert command(["--results", str(tmp_path / "file" / "results")]) == 2
        error = capsys.readouterr().err
        assert str(tmp_path / "file" / "results") in error
        assert "--results" in error
        assert error.count("\n") == 1

    def test_a_disk_that_fills_up_keeps_what_is_finished(self, tmp_path, capsys, monkeypatch):
        real, written = records.write_run, []

        def write_two(*arguments):
            if len(written) == 2:
                raise OSError("run x can't be written: No space left on device")
            written.append(real(*arguments))

        monkeypatch.setattr(records, "write_run", write_two)
        options = "--rule median --attack little --n 7 --f 2 --steps 3 --results".split()
        assert command([*options, str(tmp_path)]) == 1
        assert "No space left on device" in capsys.readouterr().err
        assert len(records.read_runs(tmp_path)) == 2


@pytest.mark.slower
def test_the_module_runs_as_a_program(tmp_path):
    """The command line as a user starts it: its own process, its own devices."""
    arguments = "--rule median --attack none little --n 7 --f 2 --steps 4 --seeds 1 2 3".split()
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.distributed_momentum",
            *arguments,
            "--results",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"SIMBYZ_CACHE": str(tmp_path / "cache")},
    )
    assert result.returncode == 0, result.stderr
    assert "median" in result.stdout
    assert len(records.read_runs(tmp_path)) == 9
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_mnist_when_it_is_there(tmp_path, monkeypatch):
    if not (SHARED / "data" / "tfds" / "mnist").exists():
        pytest.skip("needs ../shared/data/tfds/mnist, MNIST as TensorFlow Datasets prepares it")
    options = Options(dataset="mnist", data_dir=SHARED / "data" / "tfds", results=tmp_path)
    runs, dataset = prepare(options)
    assert dataset.train_images.shape == (60000, 28, 28, 1)
    assert len(runs) == (2 + (5 + 6) * 2 * 2) * 5
    assert data.load("digits").name == "digits"


@pytest.mark.slower
def test_a_precision_is_named_and_reaches_the_network():
    dataset = data.load("digits")
    gradients = {}
    for precision in ("default", "bfloat16"):
        (cell,) = cells(
            "digits", rules=[], attacks=["none"], f=[5], precision=precision, batch_size=7
        )
        assert ("precision_bfloat16" in cell.name) == (precision == "bfloat16")
        task = task_of(cell, dataset)
        parameters, state = task.initialise(jax.random.key(0))

        def loss(parameters, task=task, state=state):
            return task.loss(task.data, parameters, state, jnp.arange(7), jax.random.key(0))[0]

        gradients[precision] = jax.tree.leaves(jax.jit(jax.grad(loss))(parameters))
        assert all(leaf.dtype == jnp.float32 for leaf in gradients[precision])
    for one, other in zip(*gradients.values(), strict=True):
        assert not np.array_equal(one, other)
        # bfloat16 has eight bits.
        np.testing.assert_allclose(other, one, atol=0.02 * float(jnp.max(jnp.abs(one))))
