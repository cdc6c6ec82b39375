"""What comes of ByzFL's file: its table, its heatmaps, and runs that are not run twice."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from experiments.from_byzfl import pictures
from experiments.from_byzfl.__main__ import Options, command, main
from experiments.from_byzfl.choose import table_of
from experiments.from_byzfl.reading import read
from experiments.from_byzfl.runs import runs_of
from experiments.from_byzfl.simulate import split
from experiments.from_byzfl.study import prepare
from simbyz import records
from simbyz.data import Dataset, load
from tests.experiments.questions.byzfl_file import FILE, changed, written


def made_up(tmp_path):
    """Runs of two rules, f, levels, settings, attacks and seeds, with random columns."""
    file = changed("aggregator", [{"name": "TrMean"}, {"name": "Median"}])
    file["benchmark_config"] |= {"f": [1, 2], "nb_honest_clients": 7}
    file["attack"] = [{"name": "SignFlipping"}, {"name": "Mimic"}]
    benchmark = read(written(tmp_path, file))
    runs, rng = runs_of(benchmark), np.random.default_rng(0)
    columns = {}
    for run in runs:
        evaluated = np.array([1, np.nan, np.nan, 1, np.nan, np.nan, 1])
        columns[run.file] = {
            "loss": np.append(rng.random(6), np.nan),
            "accuracy": evaluated * rng.random(7),
            "validation_accuracy": evaluated * rng.random(7),
            "distance_from_start": rng.random(7),
        }
    steps = pd.concat([pd.DataFrame(some).assign(digest=file) for file, some in columns.items()])
    return benchmark, runs, columns, table_of(runs, steps, {file: file for file in columns})


def test_the_table_is_byzfls(tmp_path):
    """Against plain loops, in the order of its `find_best_hyperparameters` and `test_heatmap`."""
    _, runs, columns, table = made_up(tmp_path)
    assert len(table) == 2 * 2 * 2
    for row in table.to_dict("records"):
        cell = [
            run for run in runs
            if (run.rule.label, run.f, run.heterogeneity)
            == (row["rule"], row["f"], row["heterogeneity"])
        ]  # fmt: skip
        best, chosen = -1.0, None
        for rate in (0.1, 0.5):
            least = min(
                max(
                    np.mean([columns[run.file]["validation_accuracy"][step] for run in cell
                             if run.learning_rate == rate and run.attack_label == attack])
                    for step in (0, 3, 6)
                )
                for attack in ("sign_flipping", "mimic")
            )  # fmt: skip
            if least > best:
                best, chosen = least, rate
        assert (row["learning_rate"], row["validation_accuracy"]) == (chosen, pytest.approx(best))
        worst, losses, ends = [], [], []
        for attack in ("sign_flipping", "mimic"):
            some = [columns[run.file] for run in cell
                    if run.learning_rate == chosen and run.attack_label == attack]  # fmt: skip
            worst.append(
                max(np.mean([one["accuracy"][step] for one in some]) for step in (0, 3, 6))
            )
            losses.append(min(np.mean([one["loss"][step] for one in some]) for step in range(6)))
            ends.append(np.mean([one["accuracy"][6] for one in some]))
        assert row["test_accuracy"] == pytest.approx(min(worst))
        assert row["training_loss"] == pytest.approx(max(losses))
        assert row["final_accuracy"] == pytest.approx(min(ends))


def test_heatmaps_as_byzfl_draws_them(tmp_path):
    benchmark, _, _, table = made_up(tmp_path)
    drawn = dict(pictures.figures(table, benchmark))
    end = "nb_honest_clients_7_tolerated_f_equal_real"
    start = "digits_fc_mnist_gamma_similarity_niid_Clipping_NNM"
    assert list(drawn) == [
        f"test_{start}_TrMean_{end}",
        f"train_loss_{start}_TrMean_{end}",
        f"test_{start}_Median_{end}",
        f"train_loss_{start}_Median_{end}",
        f"best_test_{start}_{end}",
    ]
    axes = drawn[f"test_{start}_Median_{end}"].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gamma:0", "gamma:1"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
    values = np.asarray(axes.images[0].get_array())
    for (row, place), value in np.ndenumerate(values):
        level, f = ("gamma:0", "gamma:1")[row], (1, 2)[place]
        field = table[(table["rule"] == "median") & (table["f"] == f)].set_index("heterogeneity")
        assert value == pytest.approx(field.loc[level, "test_accuracy"])
    assert axes.texts[0].get_text() == f"{100 * values[0, 0]:.1f}"
    best = np.asarray(drawn[f"best_test_{start}_{end}"].axes[0].images[0].get_array())
    assert best.max() == pytest.approx(table["test_accuracy"].max())


def test_the_split_is_byzfls_size():
    dataset = load("digits")
    training, held = split(dataset, 0.8, 0)
    assert len(training.train_labels) == int(0.8 * 1437)
    assert len(held.test_labels) == 1437 - int(0.8 * 1437)
    assert split(dataset, 1.0, 0)[1] is None
    assert (split(dataset, 0.8, 1)[0].train_labels != training.train_labels).any()


@pytest.mark.parametrize(
    ("name", "network", "loss", "shape", "mirrored"),
    [
        ("fashionmnist", "fc_mnist", "NLLLoss", (28, 28, 1), True),
        ("cifar10", "cnn_cifar", "CrossEntropyLoss", (32, 32, 3), False),
    ],
)
def test_images_are_mirrored_where_byzfl_mirrors_them(
    name, network, loss, shape, mirrored, tmp_path, monkeypatch
):
    """On CIFAR-10 the transformation that acts there is that of the test images."""
    file = changed("model.dataset_name", name)
    file["model"] |= {"name": network, "loss": loss}
    images, labels = np.zeros((40, *shape), np.uint8), np.arange(40) % 10
    loaded = Dataset(name, images, labels, images, labels, 10, 255.0, (0.0,), (1.0,), flip=True)
    monkeypatch.setattr("experiments.from_byzfl.study.load", lambda *_, **__: loaded)
    options = Options(written(tmp_path, file), results=tmp_path / "results")
    assert prepare(options)[2].flip is mirrored


@pytest.mark.slower
def test_two_files_of_one_name_have_a_folder_each(tmp_path):
    for name, steps in (("first", 1), ("second", 2)):
        (tmp_path / name).mkdir()
        written(tmp_path / name, changed("benchmark_config.nb_steps", steps))
    folders = []
    for name in ("first", "second", "first", "second"):
        config = next((tmp_path / name).iterdir())
        options = Options(config, dataset="digits", results=tmp_path / "results")
        folders.append(prepare(options)[-1])
        assert (folders[-1] / "config.json").read_bytes() == config.read_bytes()
    assert folders[:2] == folders[2:] and folders[0].name == f"{config.stem}-digits"
    assert folders[1].name.startswith(f"{config.stem}-digits-")


@pytest.mark.slower
def test_a_file_is_run_once(tmp_path, capsys, monkeypatch):
    path = written(tmp_path, FILE)
    assert command([str(path), "--results", str(tmp_path / "results")]) == 0
    output = capsys.readouterr()
    assert "note: without effect here: device" in output.err and "written: " in output.out
    runs = records.read_runs(tmp_path / "results")
    assert len(runs) == 2 * 2 * 2
    folder = tmp_path / "results" / "config"
    assert len(list(folder.glob("*.png"))) == len(list(folder.glob("*.pdf"))) == 3
    steps = records.read_steps(tmp_path / "results", columns=["accuracy", "validation_accuracy"])
    counts = steps.groupby("digest", observed=True)[["accuracy", "validation_accuracy"]].count()
    assert counts.eq(3).all(axis=None)
    table = pd.read_csv(folder / "from_byzfl.csv")
    monkeypatch.setattr(
        "experiments.from_byzfl.simulate.sweep", lambda *_, **__: pytest.fail("ran again")
    )
    again = main(dataclasses.replace(Options(path), results=tmp_path / "results"))
    pd.testing.assert_frame_equal(again, table)
