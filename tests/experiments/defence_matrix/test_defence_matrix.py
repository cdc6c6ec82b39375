"""The defence matrix: the max-min choice, runs, resuming, the command line."""

import dataclasses
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

from experiments.defence_matrix import pictures, tables
from experiments.defence_matrix.__main__ import SMOKE, command, main
from experiments.defence_matrix.choose import best_defences, matrix
from experiments.defence_matrix.defences import defence
from experiments.defence_matrix.runs import share, widened
from experiments.defence_matrix.simulate import hyperparameters_of, programs, split, width_of
from experiments.defence_matrix.study import compute, prepare, runs_of
from simbyz import attacks, records
from simbyz.data import load
from simbyz.simulator import Config, certificates, make_simulator
from simbyz.simulator.certificates import realised_coefficient
from simbyz.tasks import classification
from simbyz.tasks.models import Dense
from simbyz.theory import robustness
from tests.support.printed import assert_refused, printed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    options = dataclasses.replace(SMOKE, results=tmp_path_factory.mktemp("results"))
    return options, main(options)


def made_up(seed=0):
    """Runs of two defences, f, settings, attacks and seeds, with random results."""
    rng = np.random.default_rng(seed)
    axes = pd.MultiIndex.from_product(
        [
            ["median", "krum"],
            ["none", "nnm"],
            [1, 2],
            ["iid", "extreme"],
            [0.5, 0.1],
            [0.0, 0.9],
            [1e-4],
            ["a", "b", "c"],
            [1, 2, 3],
        ],
        names=[
            *("rule", "pre", "f", "heterogeneity", "learning_rate", "momentum"),
            *("weight_decay", "attack", "seed"),
        ],
    )
    runs = axes.to_frame(index=False)
    for column in ("validation_accuracy", "test_accuracy", "training_loss"):
        runs[column] = rng.random(len(runs))
    return runs


@pytest.mark.slower
def test_the_choice_is_max_min_on_validation():
    """Against plain loops over the runs, one setting and attack at a time."""
    runs = made_up()
    table = matrix(runs)
    assert len(table) == 16
    for row in table.to_dict("records"):
        best = (-1.0,)
        for rate in (0.5, 0.1):
            for momentum in (0.0, 0.9):
                tests, validations, losses = {}, {}, {}
                for attack in "abc":
                    some = [
                        run
                        for run in runs.to_dict("records")
                        if all(run[k] == row[k] for k in ("rule", "pre", "f", "heterogeneity"))
                        and (run["learning_rate"], run["momentum"]) == (rate, momentum)
                        and run["attack"] == attack
                    ]
                    assert len(some) == 3
                    tests[attack] = [run["test_accuracy"] for run in some]
                    validations[attack] = sum(run["validation_accuracy"] for run in some) / 3
                    losses[attack] = sum(run["training_loss"] for run in some) / 3
                if min(validations.values()) > best[0]:
                    best = (min(validations.values()), rate, momentum, tests, losses)
        worst, rate, momentum, tests, losses = best
        assert (row["learning_rate"], row["momentum"]) == (rate, momentum)
        assert row["validation_accuracy"] == pytest.approx(worst)
        means = {attack: sum(some) / 3 for attack, some in tests.items()}
        assert row["worst_attack"] == min(means, key=means.get)
        assert row["test_accuracy"] == pytest.approx(min(means.values()))
        assert row["deviation"] == pytest.approx(np.std(tests[row["worst_attack"]], ddof=1))
        assert row["training_loss"] == pytest.approx(max(losses.values()))
        assert row["seeds"] == 3


def test_the_test_set_has_no_say_in_the_choice():
    runs = made_up()
    changed = runs.assign(test_accuracy=1 - runs["test_accuracy"])
    settings = ["learning_rate", "momentum", "validation_accuracy"]
    pd.testing.assert_frame_equal(matrix(runs)[settings], matrix(changed)[settings])


def test_of_equal_settings_the_first_is_taken_and_a_lost_run_has_infinite_loss():
    runs = made_up().assign(validation_accuracy=0.5)
    runs.loc[runs["attack"] == "b", "training_loss"] = np.nan
    runs["diverged_step"] = np.where((runs["attack"] == "c") & (runs["seed"] == 3), 7, np.nan)
    table = matrix(runs)
    assert set(table["diverged"]) == {4}  # of 3 seeds under b, 1 under c
    assert set(table["learning_rate"]) == {0.5} and set(table["momentum"]) == {0.0}
    assert np.isposinf(table["training_loss"]).all()
    for _, figure in pictures.figures(table):
        figure.canvas.draw()
        marked = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert marked and all("✕" in text for text in marked)
    shown = printed(tables.print_matrix, table, "title")
    assert "✕: some runs diverged" in " ".join(shown.split())
    assert "✕" not in printed(tables.print_matrix, matrix(made_up()), "title")


def test_what_has_the_initials_of_another_is_told_apart():
    """none and nan, monna and medoid, one attack with two factors: each pair was one."""
    assert tables.initials(["none", "min_max", "none"]) == {"none": "n", "min_max": "mm"}
    assert tables.initials(["none", "nan", "mimic"]) == {"none": "no", "nan": "na", "mimic": "m"}
    alike = ["median", "medoid", "monna"]
    assert list(tables.initials(alike).values()) == ["median", "medoid", "mo"]
    alike = ["fall_of:tau=1", "fall_of:tau=2"]
    assert tables.initials(alike) == dict(zip(alike, alike, strict=True))
    assert tables.initials(["_own:my__attack"]) == {"_own:my__attack": "oa"}


def test_the_best_defence_is_chosen_on_validation():
    table = matrix(made_up())
    best = best_defences(table)
    assert len(best) == 4
    for row in best.to_dict("records"):
        rivals = table[(table["f"] == row["f"]) & (table["heterogeneity"] == row["heterogeneity"])]
        assert row["validation_accuracy"] == rivals["validation_accuracy"].max()


def test_heatmaps_show_the_tables_values():
    table = matrix(made_up())
    drawn = dict(pictures.figures(table))
    assert list(drawn) == ["median", "krum", "best_defence"]
    accuracy, _, loss, _ = drawn["krum"].axes
    for axes, column in ((accuracy, "test_accuracy"), (loss, "training_loss")):
        alone = table[(table["rule"] == "krum") & (table["pre"] == "none")]
        shown = np.asarray(axes.images[0].get_array())
        for row, level in enumerate(("iid", "extreme")):
            for place, f in enumerate((1, 2)):
                (value,) = alone[(alone["f"] == f) & (alone["heterogeneity"] == level)][column]
                assert shown[row, place] == pytest.approx(value)
    texts = [text.get_text() for text in accuracy.texts]
    assert texts == [f"{100 * value:.0f}%" for value in accuracy.images[0].get_array().ravel()]


@pytest.mark.slower
def test_one_file_a_run(finished):
    options, table = finished
    runs = records.read_runs(options.results)
    assert len(runs) == 2 * 2 * 2  # heterogeneity, attack, learning rate
    assert len(table) == 2
    assert np.isfinite(runs["training_loss"]).all()
    assert runs["test_accuracy"].between(0, 1).all() and runs["test_accuracy"].std() > 0
    steps = records.read_steps(options.results, columns=["accuracy"])
    ends = steps.groupby("digest", observed=True)["accuracy"].last()
    assert ends.loc[runs["digest"]].to_numpy() == pytest.approx(runs["test_accuracy"].to_numpy())


@pytest.mark.slower
def test_certified_runs(finished, tmp_path):
    """Runs of their own, with what a certificate tells, and otherwise the same."""
    options, table = finished
    asked = dataclasses.replace(
        options, results=tmp_path, certify=True, rule=("trimmed_mean",), pre=("none", "nnm")
    )
    certified = main(asked).set_index("pre")
    assert "largest_coefficient" not in table
    plain = table.set_index("pre").loc["nnm"]
    pd.testing.assert_frame_equal(certified.loc["nnm", list(plain)], plain, rtol=1e-4)
    runs = records.read_runs(tmp_path)
    assert runs["name"].str.endswith("-certify").all()
    steps = records.read_steps(tmp_path, columns=["coefficient"])
    largest = steps.groupby("digest", observed=True)["coefficient"].max().astype(float)
    found = runs.set_index("digest")["largest_coefficient"].astype(float)
    pd.testing.assert_series_equal(
        found, largest[found.index], check_names=False, check_index=False
    )
    assert certified["largest_coefficient"].isin(found).all()  # of the settings that were chosen
    n, f = options.honest + 1, 1
    alone, mixed = certified.loc["none"], certified.loc["nnm"]
    assert (alone["coefficient_bound"] == robustness.trimmed_mean_coefficient(n, f)).all()
    assert (alone["certified_share"] == 1).all() and alone["mean_acceptance"].between(0, 1).all()
    behind = robustness.mixing_coefficient(n, f, robustness.trimmed_mean_coefficient(n, f))
    assert (mixed["coefficient_bound"] == behind).all() and (mixed["certified_share"] == 1).all()
    assert mixed["mean_acceptance"].between(0, 1).all()
    # What is not certified reads as ever in a folder that holds certified runs.
    for path in options.results.glob("*.parquet"):
        shutil.copy(path, tmp_path)
    beside = dataclasses.replace(options, results=tmp_path)
    pd.testing.assert_frame_equal(main(beside), table)


@pytest.mark.slower
def test_rules_that_judge_by_the_server_s_examples(tmp_path):
    """Under an attack that searches through the rule, and so knows the examples."""
    asked = dataclasses.replace(
        SMOKE,
        rule=("fltrust",),
        pre=("none",),
        attack=("adaptive_little",),
        evaluations=1,
        heterogeneity=("iid",),
        root_examples=30,
        steps=5,
        results=tmp_path,
    )
    assert main(asked)["test_accuracy"].between(0, 1).all()
    runs = records.read_runs(tmp_path)
    assert set(runs["root_examples"]) == {30} and runs["name"].str.endswith("-root_30").all()
    (other,) = {run.root_examples for run in runs_of(dataclasses.replace(asked, rule=("median",)))}
    assert other == 0  # as without the option, so that nothing is run twice


@pytest.mark.slower
def test_only_what_is_proved_of_a_defence_is_its_bound():
    n, f = 14, 4

    def coefficient_bound(rule, pre, n, f):
        return certificates.coefficient_bound(defence(rule, pre), n, f)

    median = robustness.median_coefficient(n, f)
    assert coefficient_bound("median", "none", n, f) == median
    assert coefficient_bound("median", "arc", n, f) == median + 2 * 4 / 6
    assert coefficient_bound("median", "nnm", n, f) == pytest.approx(8 * 4 / 10 * (median + 1))
    paired = robustness.bucketing_coefficient(n, 2, 2, robustness.median_coefficient(7, 2))
    assert coefficient_bound("median", "bucketing", n, 2) == paired
    assert coefficient_bound("krum", "none", n, f) == robustness.multi_krum_coefficient(n, f, m=1)
    for rule, pre in (("median", "bucketing"), ("average", "nnm"), ("caf", "none")):
        assert coefficient_bound(rule, pre, n, f) is None
    # Three iterations of a geometric median smoothed at a hundred times the honest deviation.
    assert coefficient_bound("geometric_median", "none", n, f) is None
    honest = 1e-3 * np.random.default_rng(0).normal(size=(n - f, 5))
    stack = np.concatenate([honest, np.full((f, 5), 0.05)]).astype(np.float32)
    found = realised_coefficient(defence("geometric_median", "none")(stack, f), stack[: n - f])
    assert found > 10 * median


@pytest.mark.slower
def test_nothing_is_run_twice(finished, monkeypatch):
    options, table = finished
    runs, dataset = prepare(options)
    with monkeypatch.context() as patched:
        patched.setattr(
            "experiments.defence_matrix.simulate.sweep", lambda *_, **__: pytest.fail("ran again")
        )
        pd.testing.assert_frame_equal(compute(options, runs, dataset), table)
    lost = records.run_path(options.results, runs[0].name, runs[0].configuration)
    before = records.read_steps(options.results, files=[lost.name])
    lost.unlink()
    times = {path: path.stat().st_mtime_ns for path in options.results.glob("*.parquet")}
    pd.testing.assert_frame_equal(compute(options, runs, dataset), table)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    # Beside other lanes, and alone: the same to the bit.
    pd.testing.assert_frame_equal(records.read_steps(options.results, files=[lost.name]), before)


@pytest.mark.slower
def test_a_lane_is_the_lone_run(finished):
    """The simulator without a sweep, on the same partition, up to rounding."""
    options, _ = finished
    runs, dataset = prepare(options)
    run = next(r for r in runs if r.heterogeneity == "extreme" and r.attack != "sign_flipping")
    training, validation = split(dataset, run.validation)
    assert len(training.train_labels) + len(validation.labels) == len(dataset.train_labels)
    shares = {name: share(name, training.train_labels, 3, 0) for name in ("iid", "extreme")}
    task = classification(training, Dense(run.hidden), batch_size=run.batch_size)
    data = task.data._replace(
        partition=widened(shares, len(training.train_labels))[run.heterogeneity]
    )
    simulator = make_simulator(
        Config(n=4, f=1, evaluate_every=run.steps),
        task,
        defence(run.rule, run.pre),
        attacks.a_little_is_enough,
    )
    key = jax.random.key(run.seed)
    hyperparameters = hyperparameters_of(run)._replace(attack={})
    state, metrics = jax.jit(simulator.advance, static_argnums=5)(
        simulator.initialise(key), hyperparameters, data, key, 0, run.steps
    )
    file = records.run_path(options.results, run.name, run.configuration).name
    recorded = records.read_steps(options.results, files=[file])["loss"].to_numpy()[:-1]
    np.testing.assert_allclose(metrics.loss, recorded, rtol=1e-4)
    (row,) = records.read_runs(options.results).query("file == @file").to_dict("records")
    held = data._replace(test_images=validation.images, test_labels=validation.labels)
    _, unravel = jax.flatten_util.ravel_pytree(task.initialise(key)[0])
    accuracy = task.accuracy(held, unravel(state.parameters), {}, key)
    assert row["validation_accuracy"] == pytest.approx(float(accuracy), abs=0.01)


def test_the_split_keeps_every_image_once():
    dataset = load("digits")
    training, validation = split(dataset, 0.25)
    both = np.concatenate([training.train_images, validation.images]).reshape(-1, 64)
    whole = dataset.train_images.reshape(-1, 64)
    assert len(validation.labels) == round(0.25 * len(whole))
    assert sorted(map(bytes, both)) == sorted(map(bytes, whole))
    assert training.test_images is dataset.test_images


def test_programs_hold_one_kind_of_attack():
    options = dataclasses.replace(SMOKE, attack=("mimic", "adaptive_little", "min_max"))
    runs, _ = prepare(options)
    groups = programs(runs)
    assert sum(map(len, groups)) == len(runs)
    assert len(groups) == 2


@pytest.mark.parametrize(("hidden", "width"), [(4, 10), (140, 5), (1000, 1)])
def test_lanes_have_at_most_60_000_parameters_together(hidden, width):
    task = classification(load("digits"), Dense(hidden), batch_size=2)
    assert width_of(task) == width  # 75 · hidden + 10 parameters each


def test_number_of_byzantine_workers_if_not_given():
    assert {run.f for run in prepare(dataclasses.replace(SMOKE, f=None, honest=10))[0]} == {1, 2, 4}


def test_table_stays_within_100_columns():
    runs = pd.concat([made_up(), made_up(1).assign(f=lambda made: made["f"] + 2)])
    runs = runs[runs["f"] < 4].replace(
        {
            "rule": {"krum": "geometric_median"},
            "attack": {"a": "a_little_is_enough"},
            "heterogeneity": {"extreme": "gamma:0.66"},
        }
    )
    shown = " ".join(printed(tables.print_matrix, matrix(runs), "title").split())
    for word in ("gm geometric_median", "gamma:0.66", " alie"):
        assert word in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--f 0", "f must be at least 1, got 0"),
        ("--rule multi_krum --f 9", "multi_krum needs n >= 2f + 3, got n=19, f=9"),
        ("--pre bucketing --f 4", "got n=7, f=4"),
        ("--heterogeneity gamma", "heterogeneity must be iid, extreme, gamma:SIMILARITY or"),
        ("--heterogeneity gamma:2", "gamma must be from 0 to 1, got 2.0"),
        ("--heterogeneity dirichlet:x", "got 'dirichlet:x'"),
        ("--learning-rate 0", "learning_rate must be positive and finite, got 0.0"),
        ("--momentum 1", "momentum must be from 0 to below 1 in float32, got 1.0"),
        ("--weight-decay -1", "weight_decay must be at least 0 and finite, got -1.0"),
        ("--validation 1", "validation must be a share between 0 and 1"),
        ("--batch-size 2000", "batch_size must be from 1 to 1150"),
        ("--honest 1", "honest must be at least 2, got 1"),
        ("--seeds", "seeds must name at least one"),
        ("--seeds -1", "seeds must be from 0 to 2^31 - 1, got [-1]"),
        ("--steps 0", "steps must be at least 1, got 0"),
        ("--evaluations 5", "evaluations acts only with the attacks adaptive_empire, adaptive_lit"),
        ("--hidden 3000000000", "hidden must be at most 2^31 - 1"),
        ("--hidden 2000000000", "of memory, of which there are"),
        ("--learning-rate 1e300", "learning_rate must be within float32, from 1e-37 to 3e+38, got"),
        ("--weight-decay 1e-60", "weight_decay must be within float32"),
    ],
)
def test_bad_input(arguments, message, tmp_path, capsys):
    # One of each kind where none is named: every defence and attack is traced before the rest.
    for one in ("--rule median", "--pre none", "--attack mimic"):
        if one.split()[0] not in arguments:
            arguments += f" {one}"
    assert_refused(command, arguments, message, tmp_path, capsys)


def test_runs_of_other_code_are_refused_unless_asked_for(finished, monkeypatch):
    options, _ = finished
    rows = records.read_runs(options.results)
    monkeypatch.setattr(
        "experiments.defence_matrix.study.records.read_runs",
        lambda folder: rows.assign(code_digest=["other", *rows["code_digest"][1:]]),
    )
    with pytest.raises(ValueError, match="runs of different code: .*--allow-mixed"):
        prepare(options)
    prepare(dataclasses.replace(options, allow_mixed=True))


@pytest.mark.slower
def test_command(finished, tmp_path, capsys, monkeypatch):
    _, table = finished
    monkeypatch.setattr("experiments.defence_matrix.study.compute", lambda *_: table)
    assert command(["--results", str(tmp_path)]) == 0
    assert "written" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "defence_matrix.csv"), table)
    for name in ("trimmed_mean", "best_defence"):
        assert (tmp_path / f"{name}.png").exists() and (tmp_path / f"{name}.pdf").exists()
    (tmp_path / "best_defence.png").unlink()
    (tmp_path / "best_defence.png").mkdir()
    assert command(["--results", str(tmp_path)]) == 1
    assert "error: " in capsys.readouterr().err
