"""The momentum family: runs and their costs, lanes against the library, the command line."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.momentum_family import lanes, pictures, tables
from experiments.momentum_family.__main__ import SMOKE, Options, command, main
from experiments.momentum_family.algorithms import ALGORITHMS, Numbers, refusal
from experiments.momentum_family.simulate import costs, hyperparameters_of, programs
from experiments.momentum_family.study import STEPS, runs_of, write
from simbyz import attacks, records
from simbyz.simulator.config import Config, agree
from tests.support.printed import assert_refused, printed

ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    options = dataclasses.replace(SMOKE, results=tmp_path_factory.mktemp("results"))
    return options, main(options)


@pytest.mark.slower
def test_a_run_a_file_and_what_is_refused_is_left_out(finished):
    options, (runs, chosen, summary) = finished
    assert len(runs) == len(chosen) == 2 * 2 * 2 and len(summary) == 4
    assert set(runs["algorithm"]) == {"worker_momentum", "ef21_sgdm"}
    assert runs["test_accuracy"].between(0, 1).all()
    assert runs["validation_accuracy"].between(0, 1).all()
    steps = records.read_steps(options.results, columns=STEPS)
    assert (steps.groupby("digest", observed=True).size() == options.steps + 1).all()
    by = runs.groupby("algorithm")[["gradients", "megabits"]].first()
    d = 64 * 4 + 4 + 4 * 10 + 10  # 4 hidden units: weights and biases
    assert (by["gradients"] == options.steps * options.batch_size).all()
    assert by.loc["worker_momentum", "megabits"] == pytest.approx(20 * 32 * d / 1e6)
    # 10 % of the coordinates, a float and a place of 9 bits each.
    assert by.loc["ef21_sgdm", "megabits"] == pytest.approx(20 * 31 * (32 + 9) / 1e6)


@pytest.mark.slower
def test_nothing_is_run_twice(finished, monkeypatch):
    options, results = finished
    monkeypatch.setattr(
        "experiments.momentum_family.simulate.sweep", lambda *_, **__: pytest.fail("ran again")
    )
    pd.testing.assert_frame_equal(main(options).summary, results.summary)


@pytest.mark.slower
def test_tables_and_pictures(finished):
    options, results = finished
    paths = write(options, results)
    written = {path.name for path in paths}
    curves = {f"mixed_trimmed_mean-{name}.png" for name in pictures.AXES}
    assert written == {"momentum_family.csv", "runs.csv"} | curves
    kept = pd.read_csv(paths[1])
    pd.testing.assert_frame_equal(tables.summarise(kept, options.baseline), results.summary)

    def prints(console):
        tables.print_tables(
            results.summary, options.algorithm, options.baseline, options.target, "title", console
        )
        console.print(tables.overview(results.chosen, options.baseline))

    shown = printed(prints)
    assert "refused" in shown and "delayed_momentum" in shown and "nan" not in shown


def test_all_combinations_but_those_refused():
    runs = runs_of(Options())
    assert len(runs) == (2 * len(ALGORITHMS) - 1) * 4 * 2 * 4 * 5
    assert len(programs(runs)) == 2 * len(ALGORITHMS) - 1
    refused = [(run.algorithm, run.participation) for run in runs if run.participation == 1]
    assert "delayed_momentum" not in dict(refused)
    assert refusal("delayed_momentum", 0.2) is None and refusal("sgd", 1.0) is None
    assert len(runs_of(dataclasses.replace(Options(), dataset="mnist"))) == len(runs) / 4


def test_a_run_is_the_same_whatever_does_not_act_in_it():
    other = dataclasses.replace(Options(), kept=0.3, bound=2.0, sampling="in_proportion")
    pairs = list(zip(runs_of(Options()), runs_of(other), strict=True))
    differ = {(one.algorithm, one.participation) for one, two in pairs if one != two}
    compressed = {"ef21_sgdm", "dm21", "vr_dm21", "rosdhb", "clip21_sgd2m"}
    some = {(name, 0.2) for name in ALGORITHMS if name != "delayed_momentum"}
    assert differ == some | {(name, 1.0) for name in compressed}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_momentum_is_where_the_algorithm_keeps_it(name):
    algorithm = ALGORITHMS[name]
    (run, *_) = [run for run in runs_of(Options()) if run.algorithm == name]
    place = algorithm.place
    agree(Config(n=3, f=1, momentum_at=() if place is None else (place,)), hyperparameters_of(run))
    assert len(algorithm.senders(Numbers(0.1, 3, 1.0, 0.5))) + (place is not None) <= 1
    assert algorithm.gradients == 1 + ("vr" in name or name == "storm")


def test_costs_are_of_a_worker_on_average():
    runs = {
        (run.algorithm, run.participation): run
        for run in runs_of(dataclasses.replace(Options(), n=20, f=4, batch_size=8))
    }
    bits = np.array([1e6, 2e6, 3e6, np.nan])
    for (name, participation), run in runs.items():
        found = costs(run, bits)
        share = 1.0 if participation == 1 else 0.2
        twice = 2 if name in ("storm", "vr_dm21") else 1
        np.testing.assert_allclose(found["gradients"], np.arange(4) * 8 * twice * share)
        # A mean over participants, but of delayed momentum over all.
        sent = 1.0 if name == "delayed_momentum" else share
        np.testing.assert_allclose(found["megabits"], np.array([0, 1, 3, 6]) * sent)


@pytest.mark.slower
def test_lanes_are_the_attacks():
    key, honest, own = jax.random.key(0), ROWS[:4], ROWS[4:]
    wanted = {
        "little": attacks.a_little_is_enough(key, honest, 2),
        "empire": attacks.fall_of_empires(key, honest, 2),
        "mimic": attacks.mimic(key, honest, 2),
        "label_flipping": own,
    }
    for name, rows in wanted.items():
        which = jnp.int32(lanes.number(name))
        sent = lanes.attack(key, honest, 2, own=own, which=which)
        np.testing.assert_allclose(sent, rows, rtol=1e-6)
        nobody = lanes.attack(key, honest[:0], 2, own=own, which=which)
        np.testing.assert_array_equal(nobody, own)
    alone = lanes.attack(key, honest[:1], 2, own=own, which=jnp.int32(lanes.number("little")))
    np.testing.assert_array_equal(alone, honest[[0, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--f 10", "f must be from 1 to below n / 2 = 10, got 10"),
        ("--participation 0", "participation must be above 0 and at most 1, got 0.0"),
        ("--participation 0.1", "n >= 2f + 1, got n=2, f=1"),
        (
            "--rule median --n 7 --f 2 --participation 1 0.2",
            "of n = 7, f = 2 so many take part in a step with --participation 0.2: give a larger",
        ),
        ("--kept 2", "kept must be above 0 and at most 1"),
        ("--bound 0", "bound must be above 0"),
        ("--algorithm worker_momentum --kept 0.2", "kept acts only with algorithms that compress"),
        ("--algorithm worker_momentum --bound 2", "bound acts only with clip21_sgd2m: leave"),
        (
            "--algorithm worker_momentum --participation 1 --sampling in_proportion",
            "sampling acts only with a participation below 1: leave it out, got in_proportion",
        ),
        ("--algorithm sgd storm", "baseline must be one of the algorithms, sgd storm"),
        (
            "--algorithm delayed_momentum --baseline delayed_momentum --participation 1",
            "nothing to run: delayed_momentum with participation 1: nobody is absent",
        ),
        ("--learning-rate", "learning_rate must name at least one"),
        ("--learning-rate 0", "learning_rate must be positive"),
        ("--heterogeneity dirichlet", "heterogeneity must be iid"),
        ("--batch-size 5000", "batch_size must be from 1 to"),
        ("--hidden 2000000000", "take a smaller layer"),
        ("--seeds 1 1", "seeds must differ from each other"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, message, tmp_path, capsys):
    assert_refused(command, arguments, message, tmp_path, capsys)


@pytest.mark.slower
def test_some_take_part_and_a_mixture_of_rules(tmp_path):
    """By chance, so that there are steps with more attackers than are tolerated."""
    options = dataclasses.replace(
        SMOKE,
        algorithm=("worker_momentum", "vr_dm21", "delayed_momentum"),
        rule=("mixture",),
        participation=(0.6,),
        seeds=(1,),
        results=tmp_path,
    )
    runs, _, summary = main(options)
    assert len(runs) == 3 * 2 and not runs["diverged"].any()
    assert set(summary["algorithm"]) == set(options.algorithm)
    delayed = runs.set_index("algorithm")["megabits"].loc["delayed_momentum"]
    whole = 20 * 32 * 310 / 1e6
    assert (delayed < whole).all() and (delayed > 0.3 * whole).all()
