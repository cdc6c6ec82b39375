"""Misjudged f: the floor and the bound by counting, every run once more in NumPy, the tables."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.misjudged_f import lanes, pictures, problems, tables
from experiments.misjudged_f.__main__ import SMOKE, command, main
from experiments.misjudged_f.bounds import bound, floor
from experiments.misjudged_f.simulate import rule_by_lane
from experiments.misjudged_f.study import Results, runs_of
from experiments.shared.formats import Printer
from experiments.worst_case.rules import rule_of
from simbyz import attacks
from simbyz.simulator.keys import BATCHES, INITIALISE
from simbyz.theory import robustness
from tests.support.printed import assert_refused, printed

ROWS = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    options = dataclasses.replace(SMOKE, results=tmp_path_factory.mktemp("results"))
    return options, main(options)


@pytest.mark.slower
def test_a_row_a_run(finished):
    options, (runs, summary) = finished
    attackers = len(options.attack)
    assert len(runs) == len(runs_of(options)) == len(options.data) * (1 + 2 * attackers)
    assert set(runs.loc[runs["f"] == 0, "attack"]) == {"none"}
    assert not runs.isna().any(axis=None) and not summary["worst"].isna().any()
    assert len(summary) == 3 and summary["runs"].sum() == len(runs)


def test_against_numpy(finished):
    """Every run once more in float64; those who may attack and don't are honest workers."""
    options, (runs, _) = finished
    n, steps, zeta = options.n, options.steps, options.zeta
    for run in runs.to_dict("records"):
        f, tolerated = run["f"], run["tolerated"]
        case = problems.Case(run["data"], f, tolerated)
        learnt = problems.quadratic(n, zeta, options.sigma, [case])
        task = learnt.task
        data = {name: np.asarray(leaf, np.float64) for name, leaf in task.data._asdict().items()}
        tilts = np.asarray(learnt.stacked[0], np.float64)
        assert np.mean(np.sum(tilts[: n - f] ** 2, axis=1)) == pytest.approx(zeta**2, rel=1e-5)
        np.testing.assert_allclose(tilts.sum(axis=0), 0, atol=1e-5)
        key = jax.random.key(run["seed"])
        theta = np.asarray(task.initialise(jax.random.fold_in(key, INITIALISE))[0], np.float64)
        noises = task.batches(task.data, jax.random.fold_in(key, BATCHES), 0, steps, n)[1]
        momenta, start, far = np.zeros((n, len(theta))), theta, False
        for step, noise in enumerate(np.asarray(noises, np.float64)):
            gradients = tilts + data["hessian"] @ (theta - data["optimum"])
            momenta = 0.9 * momenta + 0.1 * (gradients + options.sigma * noise)
            honest = momenta[: n - f]
            mean = honest.mean(axis=0)
            row = {
                "none": mean,
                "mimic": honest[0],
                "little": mean - 1.5 * honest.std(axis=0, ddof=1),
                "flipped": -mean,
                "negated": -100 * mean,
            }[run["attack"]]
            ordered = np.sort([*honest, *[row] * f], axis=0)
            aggregate = ordered[tolerated : n - tolerated].mean(axis=0)
            theta = theta - 0.5 * min(1, 2 * (1 - step / steps)) * aggregate
            if far := np.linalg.norm(theta) > 1e30:
                break
        assert run["diverged"] == (far or np.linalg.norm(theta - start) > 1e6), run
        if not run["diverged"]:
            error = np.sum((data["hessian"] @ (theta - data["optimum"])) ** 2)
            assert run["squared_gradient_norm"] == pytest.approx(error, rel=2e-3, abs=1e-5), run


def test_the_floor_is_met_where_it_is_proved_and_nothing_holds_below_f(finished):
    _, (_, summary) = finished
    for row in summary[summary["f"] <= 1].to_dict("records"):
        assert row["floors_case"] == pytest.approx(row["floor"], rel=0.06)
        assert row["floors_case"] <= row["worst"] <= row["bound"]
    (below,) = summary[summary["f"] == 2].to_dict("records")
    assert below["floor"] == below["bound"] == below["worst"] == math.inf
    assert below["diverged"] > 0 and below["where"].endswith("negated")


@pytest.mark.parametrize(("n", "f", "tolerated"), [(11, 1, 3), (11, 3, 3), (7, 0, 2), (20, 2, 9)])
def test_the_floor_by_counting(n, f, tolerated):
    """n - f̂ zeros, f of them Byzantine, and f̂ ones; a rule exact on n - f̂ that agree gives 0."""
    honest = np.array([0.0] * (n - f - tolerated) + [1.0] * tolerated)
    assert floor(n, f, tolerated) == pytest.approx(honest.mean() ** 2 / honest.var())
    rows = np.concatenate([honest, np.zeros(f)])[:, None].astype(np.float32)
    assert float(rule_of("trimmed_mean")(rows, tolerated)[0]) == 0


def test_the_floor_is_the_known_one_at_f_and_unbounded_below():
    assert floor(11, 3, 3) == robustness.coefficient_floor(11, 3)
    assert floor(11, 3, 2) == bound("trimmed_mean", 11, 3, 2) == math.inf
    assert bound("trimmed_mean", 11, 1, 2) == robustness.trimmed_mean_coefficient(11, 2)
    assert math.isnan(bound("caf", 11, 1, 2))
    with pytest.raises(ValueError, match="together below n = 5, got 2, 3"):
        floor(5, 2, 3)


def test_the_bound_carries_over_to_more_honest_rows():
    """Over all S of n - f̂ of the honest rows: the mean of the means is the mean, and the mean of
    the variances is at most the variance.
    """
    honest, taken = ROWS[:7].astype(np.float64), 5
    parts = [honest[list(some)] for some in itertools.combinations(range(7), taken)]
    np.testing.assert_allclose(
        np.mean([s.mean(axis=0) for s in parts], axis=0), honest.mean(axis=0)
    )
    assert np.mean([s.var(axis=0).sum() for s in parts]) <= honest.var(axis=0).sum()


def test_lanes_are_the_attacks_of_those_who_are_there():
    present, possible = 2, 4
    honest = ROWS[: len(ROWS) - present]
    key = jax.random.key(0)
    wanted = {
        "mimic": honest[:1].repeat(2, axis=0),
        "little": attacks.a_little_is_enough(key, honest, present),
        "flipped": attacks.sign_flipping(key, honest, present),
        "negated": attacks.full_gradient_negation(key, honest, present, scale=100.0),
    }
    for name, rows in wanted.items():
        own = jnp.asarray(ROWS[-possible:])
        sent = lanes.attack(
            key,
            jnp.asarray(ROWS[:-possible]),
            possible,
            own=own,
            which=lanes.number(name),
            present=present,
        )
        np.testing.assert_allclose(sent[-present:], rows, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(sent[:-present], own[:-present])


@pytest.mark.slower
@pytest.mark.parametrize("rule", ["trimmed_mean", "krum"])
def test_a_lane_has_its_own_f(rule):
    by_lane = rule_by_lane(rule, (0, 2, 3))
    for number, tolerated in enumerate((0, 2, 3)):
        state = jnp.int32(number)
        made = by_lane.aggregate(ROWS, 0, state=state)
        np.testing.assert_allclose(made, rule_of(rule)(ROWS, tolerated), rtol=1e-6)
        assert by_lane.learn(state, ROWS, made) is state


def made_up():
    axes = itertools.product(
        ["quadratic"], ["minority", "spread"], ["krum"], [1], [0, 1], ["mimic", "little"], [1, 2]
    )
    names = ["problem", "data", "rule", "f", "tolerated", "attack", "seed"]
    runs = pd.DataFrame(axes, columns=names).assign(n=11, zeta=2.0, diverged=False)
    return runs.assign(squared_gradient_norm=np.arange(len(runs), dtype=float))


def test_the_summary_is_of_the_worst_case():
    runs = made_up()
    runs.loc[runs.index[-1], "diverged"] = True
    lost, held = (tables.summarise(runs).set_index("tolerated").loc[t] for t in (1, 0))
    for tolerated, row in ((0, held), (1, lost)):
        some = runs[runs["tolerated"] == tolerated]
        means = {
            case: np.mean(part["squared_gradient_norm"]) / 4
            for case, part in some.groupby(["data", "attack"])
        }
        assert row["floors_case"] == pytest.approx(means["minority", "mimic"])
        if tolerated == 0:
            assert (row["worst"], row["where"]) == (max(means.values()), "spread, little")
            assert row["floor"] == math.inf and row["diverged"] == 0
    assert lost["worst"] == math.inf and lost["where"] == "spread, little"
    assert lost["floor"] == pytest.approx(1 / 9) and lost["bound"] == pytest.approx(6 * (1 + 1 / 9))


def test_numbers_are_powers_of_ten_only_where_they_are_long():
    values = (0.12345, 99.9, 130.323, 12345.6, np.inf, np.nan)
    assert [*map(tables.number, values)] == ["0.123", "99.900", "130.3", "1.2e+04", "∞", "-"]


def test_tables_and_pictures(finished, tmp_path):
    _, (_, summary) = finished
    images = summary.assign(problem="digits", worst=0.5, deviation=0.1, floors_case=np.nan)
    both = pd.concat([summary, images])
    titles = {"quadratic": "title", "digits": "title"}
    shown = printed(tables.print_tables, both, titles)
    assert "∞" in shown and "50.0 ± 10.0✕" in shown and "nan" not in shown
    for name in titles:
        pictures.curves(both, name).savefig(tmp_path / f"{name}.png", dpi=50)
    assert "trimmed_mean" in printed(
        lambda console: tables.print_tables(
            both, titles, Printer("csv", file=console.file, width=100)
        )
    )


@pytest.mark.slower
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--f 5 --tolerated 5",
            "must together be below n - 1 = 10",
        ),
        ("--n 7", "got 3 by default: give --f too and 4 by default: give --tolerated too"),
        ("--f -1", "f must be at least 0, got -1"),
        ("--tolerated", "tolerated must name at least one"),
        ("--rule krum --n 9 --f 1 --tolerated 4", "krum needs n >= 2f + 3, got n=9, f=4"),
        ("--data iid", "data must name minority or spread for quadratic, got iid"),
        ("--data minority", "data must name a heterogeneity, such as iid for digits"),
        ("--data dirichlet", "heterogeneity must be iid"),
        ("--data spread gamma:0.5 gamma:0.50", "heterogeneity must differ, got gamma:0.5 gamma"),
        ("--sigma -1", "sigma must be at least 0 and finite"),
        ("--batch-size 100000", "batch_size must be from 1 to"),
        ("--problem quadratic --data spread --batch-size 0", "batch_size must be at least 1"),
        ("--problem digits --data iid --zeta 2", "zeta acts only with quadratics: leave it out"),
        ("--problem quadratic --data spread --hidden 4", "hidden acts only with images: leave it"),
        ("--hidden 2000000000", "take a smaller layer"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, message, tmp_path, capsys):
    assert_refused(command, arguments, message, tmp_path, capsys)


def test_command(finished, tmp_path, capsys, monkeypatch):
    _, results = finished
    monkeypatch.setattr("experiments.misjudged_f.study.compute", lambda *_: results)
    assert command(["--problem", "quadratic", "--results", str(tmp_path)]) == 0
    assert "written" in capsys.readouterr().out
    folder = tmp_path / "problem_quadratic"
    assert len(pd.read_csv(folder / "runs.csv")) == len(results.runs)
    assert (folder / "quadratic.png").exists() and (folder / "misjudged_f.csv").exists()


@pytest.mark.slower
def test_images(tmp_path):
    options = dataclasses.replace(
        SMOKE, problem=("digits",), data=("iid", "dirichlet:1"), steps=20, results=tmp_path
    )
    runs, summary = Results(*main(options))
    assert runs["test_accuracy"].between(0, 1).all() and len(summary) == 3
    by_data = runs[runs["f"] == 0].set_index("data")["test_accuracy"]
    assert by_data["iid"] != by_data["dirichlet:1"]
