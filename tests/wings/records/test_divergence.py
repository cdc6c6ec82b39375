"""A run that stops being finite says so: with its step, in its file, in tables and pictures."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from experiments.distributed_momentum.analysis.pairs import pairs_of
from experiments.distributed_momentum.analysis.run_table import rows_of
from experiments.distributed_momentum.commands.grid import select
from experiments.distributed_momentum.figures import comparison, curves, overview
from experiments.distributed_momentum.grid.cells import cells
from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.running.simulate import simulate
from experiments.distributed_momentum.write_up.write_up import write_up
from simbyz import aggregators, attacks, data, records
from simbyz.records.divergence import diverged_step, diverged_steps
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.sweeps import Lane, sweep
from simbyz.tasks.problems import quadratic
from tests.support import fake_runs
from tests.support.fake_runs import FEW
from tests.support.printed import printed

FINITE = np.ones(5)


@pytest.mark.parametrize(
    ("loss", "distance", "expected"),
    [
        ([3, 2, 1, 1, np.nan], FINITE, None),  # no loss is taken after the last step
        ([3, 2, np.inf, 1, np.nan], FINITE, 2),
        ([3, 2, np.nan, np.nan, np.nan], [0, np.inf, 1, 1, 1], 1),
        (FINITE, [0, 1, 1, 1, np.nan], 4),  # by the last step
        ([np.nan] * 5, FINITE, 0),
    ],
)
def test_the_first_step_that_is_not_finite(loss, distance, expected):
    assert diverged_step(np.array(loss, float), np.array(distance, float)) == expected


def trained(rule, attack, rate, steps=40):
    """Gradient descent on a quadratic of curvature up to 1, under two attackers of seven."""
    problem = quadratic(
        jax.random.key(0), 5, 3, smoothness=1.0, convexity=0.5, noise=0.0, heterogeneity=0.0
    )
    simulator = make_simulator(
        Config(n=7, f=2, momentum_at=(), evaluate_every=steps), problem.task, rule, attack
    )
    (result,) = sweep(
        simulator,
        [Lane(1, Hyperparameters(rate))],
        problem.task.data,
        steps=steps,
        width=1,
        devices=jax.local_devices()[:1],
    )
    return result.columns


@pytest.mark.slower
def test_an_attack_of_nan_is_no_divergence_where_the_rule_survives():
    survived = trained(aggregators.median, attacks.nan, 0.1)
    assert np.isnan(survived["attack_norm"]).all()  # the attack was there
    assert diverged_step(survived["loss"], survived["distance_from_start"]) is None
    broken = trained(aggregators.average, attacks.nan, 0.1)
    # The loss is taken before the update: that of step 0 is finite, the parameters after it not.
    assert diverged_step(broken["loss"], broken["distance_from_start"]) == 1


@pytest.mark.slower
def test_a_rate_too_high_diverges_at_the_step_where_numbers_overflow():
    columns = trained(aggregators.median, attacks.sign_flipping, 1e6)
    step = diverged_step(columns["loss"], columns["distance_from_start"])
    assert 1 < step < 20
    assert np.isfinite(columns["loss"][:step]).all()
    assert np.isfinite(columns["distance_from_start"][:step]).all()


def digits():
    """Digits under an attack of NaN: the average breaks, the median does not."""
    chosen = cells(
        "digits", rules=["average", "median"], attacks=["none", "nan"], f=[2], n=7, steps=6
    )
    return [Run(cell, 1) for cell in chosen if cell.momentum_at == "update"]


@pytest.mark.slower
def test_a_diverged_run_is_recorded_and_keeps_its_metrics(tmp_path):
    folder = tmp_path
    chosen = [run for run in digits() if run.cell.attack == "nan"]
    simulate(chosen, data.load("digits"), folder)
    runs = records.read_runs(folder).set_index("rule")
    broken, robust = runs.loc[["average", "median"]].to_dict("records")
    assert broken["diverged_step"] == 1
    assert robust["diverged_step"] != robust["diverged_step"]  # NaN beside numbers
    assert 0 <= broken["highest_accuracy"] <= 1
    steps = records.read_steps(folder, files=[broken["file"]])
    assert len(steps) == 7 and np.isfinite(steps["loss"][0])
    # What is recorded is what the steps say.
    for digest, step in diverged_steps(records.read_steps(folder)).items():
        recorded = runs.set_index("digest").loc[digest, "diverged_step"]
        assert step == recorded or (np.isnan(step) and recorded != recorded)


def test_the_final_table_and_its_curves_show_it(tmp_path):
    for run in digits():
        lost = (run.cell.rule, run.cell.attack) == ("average", "nan")
        fake_runs.write(tmp_path, run, 0.5, diverges_at=1 if lost else None)
    chosen = [run.cell for run in digits()]
    runs, steps = comparison.read(tmp_path, chosen, [1])
    compared = comparison.compare(runs, chosen)
    lines = printed(comparison.print_table, compared, "title").splitlines()
    (broken,) = [i for i, line in enumerate(lines) if "average" in line]
    assert "1✕" in lines[broken + 2]
    assert sum("1✕" in line for line in lines) == 1
    assert "2✕: two runs diverged" in " ".join(" ".join(lines).split())
    figure = comparison.plot_accuracy(steps, chosen)
    assert crosses(figure) == {"average, nan, f = 2": [1], "median, nan, f = 2": []}
    plt.close(figure)


def crosses(figure) -> dict[str, list]:
    return {
        axes.get_title(): [
            point[0]
            for drawn in axes.collections
            if drawn.get_gid() == "diverged"
            for point in drawn.get_offsets().tolist()
        ]
        for axes in figure.axes
    }


@pytest.mark.parametrize("places", [["update", "worker"], ["update", "worker", "server"]])
def test_the_widest_table_fits_100_columns(places):
    shown, names = comparison_of(places)
    assert "learning rate 0.5, Nesterov on" in shown
    assert "gain: at worker over at update" in " ".join(shown.split())
    assert shown.count("88.8 ± 11.1") == 2 * (len(names) - 1)


def test_no_gain_is_shown_where_there_is_none():
    assert "gain" not in comparison_of(["worker", "server"])[0]


def comparison_of(places):
    names = ["unattacked", *places, "gain"]
    row = {"attack": "little", "rule": "median", "f": 24, "learning_rate": 0.02, "nesterov": False}
    row |= {name: 0.999 for name in names} | {f"{name}_deviation": 0.123 for name in names}
    row |= {f"{name}_diverged": 5 for name in names[:-1]}
    row |= {f"{name}_final": 0.888 for name in names[:-1]}
    row |= {f"{name}_final_deviation": 0.111 for name in names[:-1]}
    row |= {f"{place}_ratio": 123.4 for place in places}
    compared = pd.DataFrame([row, row | {"learning_rate": 0.5, "nesterov": True}])
    return printed(comparison.print_table, compared, "title"), names


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Part of the grid, files older than the record of divergence; one run diverged."""
    folder = tmp_path_factory.mktemp("grid")
    unattacked = dataclasses.replace(FEW, attack=("none", "little"))
    for run in select(unattacked):
        lost = (run.cell.rule, run.cell.momentum_at, run.seed) == ("median", "update", 2)
        fake_runs.write(folder, run, 0.5, diverges_at=3 if lost else None)
    return rows_of(folder).assign(folder=str(folder))


def test_the_grid_s_pictures_show_it(grid):
    pairs = pairs_of(grid)
    assert pairs.set_index(["rule", "seed"])["diverged"].to_dict() == {
        ("median", 1): False, ("median", 2): True, ("trmean", 1): False, ("trmean", 2): False
    }  # fmt: skip
    figure = overview.heatmap(pairs)
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown.count("+0✕") == 1 and shown.count("+0") == 1
    assert "✕: a run diverged" in figure.axes[0].get_title()
    plt.close(figure)
    ((_, figure),) = overview.boxes(grid)
    assert sum(map(len, crosses(figure).values())) == 1
    plt.close(figure)
    (combination,) = curves.combinations(grid)
    figure = curves.draw(combination)
    assert crosses(figure)["median, f = 24"] == [3] and crosses(figure)["trmean, f = 24"] == []
    assert figure.get_suptitle().endswith("2 seeds, ✕: 1 diverged)")
    plt.close(figure)


def test_the_report_shows_it(grid, tmp_path):
    text = write_up(grid, {}, tmp_path)
    assert "diverged: mnist-little-median-f_24-lr_0.5-at_update, seed 2, at step 3" in text
    assert "| mnist, f = 24, median, little, 0.5 | 2, 1 ✕ |" in text
    assert "| mnist, f = 24, trmean, little, 0.5 | 2 |" in text
