"""The error floor experiment: the floor is met where it must be, and the command line."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.error_floor import tables
from experiments.error_floor.__main__ import SMOKE, command, main
from experiments.error_floor.simulate import ATTACKS, DATA, DIMENSION, problems
from simbyz.simulator.keys import BATCHES, INITIALISE
from tests.support.printed import assert_refused, printed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    options = dataclasses.replace(SMOKE, results=tmp_path_factory.mktemp("results"))
    return options, main(options)


@pytest.mark.slower
def test_one_row_a_run(finished):
    options, results = finished
    assert len(results.runs) == len(options.zeta) * len(DATA) * len(ATTACKS) * len(options.seeds)
    assert not results.runs.duplicated(["zeta", "data", "attack", "seed"]).any()
    assert np.isfinite(results.runs["squared_gradient_norm"]).all()
    np.testing.assert_allclose(results.runs["floor"], 2 / 3 * results.runs["zeta"] ** 2)


def test_against_numpy(finished):
    """Every run once more in float64, and ζ² from the honest gradients at some point."""
    options, results = finished
    n, (f,), steps, rng = options.n, options.f, options.steps, np.random.default_rng(0)
    both = dict(zip(DATA, problems(n, f, options.sigma), strict=True))
    for run in results.runs.to_dict("records"):
        task = both[run["data"]].task
        data = {name: np.asarray(leaf, np.float64) for name, leaf in task.data._asdict().items()}
        tilts = run["zeta"] * data["tilts"]

        def gradients(theta, data=data, tilts=tilts):
            return tilts + data["hessian"] @ (theta - data["optimum"])

        rows = gradients(rng.normal(size=DIMENSION))
        spread = np.mean(np.sum((rows - rows.mean(axis=0)) ** 2, axis=1))
        assert run["floor"] == pytest.approx(f / (n - 2 * f) * spread, rel=1e-5)

        key = jax.random.key(run["seed"])
        theta = np.asarray(task.initialise(jax.random.fold_in(key, INITIALISE))[0], np.float64)
        noises = task.batches(task.data, jax.random.fold_in(key, BATCHES), 0, steps, n - f)[1]
        momenta = np.zeros((n - f, DIMENSION))
        for step, noise in enumerate(np.asarray(noises, np.float64)):
            momenta = 0.9 * momenta + 0.1 * (gradients(theta) + options.sigma * noise)
            mean = momenta.mean(axis=0)
            byzantine = {
                "majority": momenta[0],
                "shifted": mean + 2 * run["zeta"] / np.sqrt(DIMENSION),
                "little": mean - 1.5 * momenta.std(axis=0, ddof=1),
                "flipped": -mean,
            }[run["attack"]]
            ordered = np.sort([*momenta, *[byzantine] * f], axis=0)
            theta = theta - 0.5 * min(1, 2 * (1 - step / steps)) * ordered[f : n - f].mean(axis=0)
        error = np.sum(gradients(theta).mean(axis=0) ** 2)
        assert run["squared_gradient_norm"] == pytest.approx(error, rel=1e-4), run


def test_what_cannot_be_told_apart_costs_the_floor_and_nothing_exceeds_the_bound(finished):
    _, results = finished
    (row,) = results.summary.to_dict("records")
    assert row["floor"] == pytest.approx(2 / 3)
    assert row["indistinguishable"] == pytest.approx(2 / 3, rel=0.02)
    assert row["indistinguishable"] <= row["worst"] <= row["bound"] == pytest.approx(20 / 3)
    by_case = results.runs[(results.runs["data"] == "minority") & (results.runs["zeta"] == 10)]
    (got,) = by_case[by_case["attack"] == "majority"].groupby("f")["squared_gradient_norm"].mean()
    assert row["indistinguishable"] == pytest.approx(got / 100)


def test_the_problems_differ_in_their_tilts_alone():
    minority, spread = (problem.task.data for problem in problems(7, 2, 0.1))
    np.testing.assert_array_equal(minority.hessian, spread.hessian)
    np.testing.assert_array_equal(minority.optimum, spread.optimum)
    assert np.abs(minority.tilts - spread.tilts).max() > 0.1


def test_table_and_picture(finished, tmp_path):
    _, results = finished
    assert "trimmed_mean" in printed(tables.print_table, results.summary, "title")
    tables.plot(results.runs).savefig(tmp_path / "floor.png", dpi=50)


def test_a_single_seed_has_no_deviation(finished):
    _, results = finished
    runs = results.runs[results.runs["seed"] == results.runs["seed"].min()]
    case = (runs["zeta"] == 10) & (runs["data"] == "minority") & (runs["attack"] == "majority")
    (error,) = runs.loc[case, "squared_gradient_norm"]
    shown = printed(tables.print_table, tables.summarise(runs), "title")
    assert f"{error / 100:.3f}" in shown and " ± 0.000" not in shown


def test_runs_that_diverged_are_no_part_of_a_mean(finished):
    """One seed of two: its case has no error to show."""
    _, results = finished
    runs = results.runs.copy()
    lost = (runs["zeta"] == 10) & (runs["data"] == "spread") & (runs["attack"] == "flipped")
    runs.loc[lost & (runs["seed"] == 1), "squared_gradient_norm"] = np.inf
    shown = printed(tables.print_table, tables.summarise(runs), "title")
    assert "diverged" in shown and "spread, flipped" in shown
    told = [text.get_text() for axes in tables.plot(runs).axes for text in axes.texts]
    cases = len(runs.drop_duplicates(["zeta", "data", "attack"]))
    assert told == [f"1 of {cases} diverged"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--f 10", "f must be from 1 to below n / 2 = 10, the floor's domain, got 10"),
        ("--f 0", "f must be from 1"),
        ("--rule krum --n 8 --f 3", "krum needs n >= 2f + 3, got n=8, f=3"),
        ("--zeta 0", "zeta must be positive and finite, got 0.0"),
        ("--sigma -1", "sigma must be at least 0 and finite, got -1.0"),
        ("--steps 0", "steps must be at least 1, got 0"),
        ("--seeds -1", "seeds must be from 0"),
    ],
)
def test_bad_input(arguments, message, tmp_path, capsys):
    assert_refused(command, arguments, message, tmp_path, capsys)


@pytest.mark.slower
def test_command(finished, tmp_path, capsys, monkeypatch):
    _, results = finished
    monkeypatch.setattr("experiments.error_floor.study.compute", lambda *_: results)
    assert command(["--results", str(tmp_path)]) == 0
    assert "written" in capsys.readouterr().out
    assert np.loadtxt(tmp_path / "runs.csv", delimiter=",", skiprows=1, usecols=1).size == len(
        results.runs
    )
    assert (tmp_path / "error_floor.png").exists() and (tmp_path / "error_floor.pdf").exists()
    (tmp_path / "runs.csv").unlink()
    (tmp_path / "runs.csv").mkdir()
    assert command(["--results", str(tmp_path)]) == 1
    assert "error: " in capsys.readouterr().err
