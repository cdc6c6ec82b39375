"""Certificates of runs: columns against NumPy, what they come to, the experiment's table."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.commands import grid
from experiments.distributed_momentum.figures import certificates
from experiments.distributed_momentum.grid.cells import cells, reference_of
from experiments.distributed_momentum.grid.programs import Run as ExperimentRun
from experiments.distributed_momentum.grid.programs import little_or_empire, programs
from experiments.distributed_momentum.grid.rules import PAPER_RULES, bound_of, rule_of, selection_of
from experiments.report.commands import cell_of, command_of
from simbyz import aggregators, records
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.certificates import CERTIFICATES, summarise
from simbyz.simulator.keys import REDRAW, of_step
from simbyz.simulator.metrics import Metrics
from simbyz.simulator.participation import identities
from simbyz.sweeps import many_runs
from simbyz.sweeps.checkpoints import Checkpoints
from simbyz.tasks import Task
from simbyz.theory.robustness import COEFFICIENT_BOUNDS, trimmed_mean_coefficient
from tests.support.compiled import quick_jit
from tests.support.paths import DOCS
from tests.support.printed import printed

N, F, D, STEPS = 9, 3, 5, 6
TARGETS = np.random.default_rng(0).normal(size=(STEPS, N, D)).astype(np.float32)


def task():
    """Losses ||θ - TARGETS[t, i]||² / 2 of worker i at step t: gradients θ - TARGETS[t, i]."""

    def batches(arrays, key, first_step, num_steps, num_workers):
        targets = jnp.asarray(TARGETS)[:, :num_workers]
        return jax.lax.dynamic_slice_in_dim(targets, first_step, num_steps)

    return Task(
        data={},
        initialise=lambda key: (jnp.ones(D), {}),
        batches=batches,
        loss=lambda arrays, parameters, model_state, batch, key: (
            jnp.sum(jnp.square(parameters - batch)) / 2,
            model_state,
        ),
        accuracy=lambda *_: jnp.float32(0.5),
        batch_size=1,
    )


STRENGTHS = ((0.5, 0.0), (1.0, -1.5), (1.0, 20.0), (-0.1, 0.0), (-30.0, 0.0))  # mean, deviation
RUNS = [(place, *strength) for strength in STRENGTHS for place in ("worker", "update")]


def hyperparameters(place, mean, deviation):
    attack = {"mean": mean, "deviation": deviation}
    momentum = {"worker": Momentum(), "update": Momentum(), place: Momentum(0.9, 0.1)}
    return Hyperparameters(learning_rate=0.3, attack=attack, **momentum)


def config_of(redraw=False, certify=True):
    places = ("worker", "update")
    return Config(N, F, momentum_at=places, redraw=redraw, evaluate_every=2, certify=certify)


@functools.cache
def columns_of(name, *, redraw=False, certify=True):
    """The columns (STEPS + 1,) of all RUNS of a rule, from one program."""
    options = {"neighbours": N - F - 1} if name == "krum" else {}
    rule = functools.partial(aggregators.AGGREGATORS[name], **options)
    selection = functools.partial(aggregators.SELECTIONS[name], **options)
    config = config_of(redraw, certify)
    simulator = make_simulator(config, task(), rule, little_or_empire, selection=selection)
    key = jax.random.key(0)

    def run(numbers):
        state = simulator.initialise(key)
        state, metrics = simulator.advance(state, numbers, {}, key, 0, STEPS)
        return metrics, simulator.finish(state, {}, key, STEPS)

    numbers = [hyperparameters(*run) for run in RUNS]
    numbers = jax.tree.map(lambda *leaves: jnp.asarray(leaves, jnp.float32), *numbers)
    metrics, last = jax.device_get(jax.jit(jax.vmap(run))(numbers))
    return {
        one: {
            column: np.append(leaf[i], getattr(last, column)[i])
            for column, leaf in metrics._asdict().items()
            if leaf is not None
        }
        for i, one in enumerate(RUNS)
    }


def replay(name, place, who):
    """The same run in plain NumPy: coefficient, distance and acceptance of each step.

    Args:
      who: of each step, the honest rows' numbers.
    """
    trimmed = F if name == "trimmed_mean" else (N - 1) // 2
    parameters, momenta, momentum = np.ones(D), np.zeros((N, D)), np.zeros(D)
    rows = []
    for honest, targets in zip(who, TARGETS.astype(float), strict=True):
        gradients = parameters - targets
        momenta = 0.9 * momenta + 0.1 * gradients
        stack = momenta.copy() if place == "worker" else gradients.copy()
        center = np.mean(stack[honest], axis=0)
        byzantine = [i for i in range(N) if i not in honest]
        stack[byzantine] = 0.5 * center  # the first of STRENGTHS
        ordered = np.sort(stack, axis=0)[trimmed : N - trimmed]
        aggregate = np.mean(ordered, axis=0)
        between = (stack >= ordered[0]) & (stack <= ordered[-1])
        acceptance = np.mean(between[byzantine].sum(axis=0) / between.sum(axis=0))
        distance = np.linalg.norm(aggregate - center)
        variance = np.mean([np.sum((stack[i] - center) ** 2) for i in honest])
        rows.append((distance**2 / variance, distance, acceptance))
        momentum = 0.9 * momentum + 0.1 * aggregate
        parameters = parameters - 0.3 * (aggregate if place == "worker" else momentum)
    return np.array(rows).T


THOROUGH = [pytest.param(name, marks=pytest.mark.thorough) for name in ("trimmed_mean", "krum")]


@pytest.mark.slower
@pytest.mark.parametrize("name", ["median", THOROUGH[0]])
def test_columns_against_numpy(name):
    for place in ("worker", "update"):
        expected = replay(name, place, [range(N - F)] * STEPS)
        assert_columns(columns_of(name)[place, *STRENGTHS[0]], expected)


def assert_columns(columns, expected):
    for name, values in zip((*CERTIFICATES, "attack_acceptance"), expected, strict=True):
        np.testing.assert_allclose(columns[name][:-1], values, rtol=1e-4, atol=1e-6, err_msg=name)
        assert np.isnan(columns[name][-1])  # no step was taken there
    assert np.min(expected[1]) > 0.01
    assert 0 < np.mean(expected[2]) < 1


@pytest.mark.slower
@pytest.mark.parametrize("place", ["worker", "update"])
def test_columns_where_the_byzantine_are_redrawn(place):
    keys = [of_step(jax.random.key(0), REDRAW, step) for step in range(STEPS)]
    who = [identities(config_of(redraw=True), key).honest.tolist() for key in keys]
    assert len(set(map(tuple, who))) > 1
    columns = columns_of("median", redraw=True)[place, *STRENGTHS[0]]
    assert_columns(columns, replay("median", place, who))


@pytest.mark.parametrize("name", ["median", *THOROUGH])
def test_every_step_is_certified_under_attack(name):
    bound = COEFFICIENT_BOUNDS[name](N, F)
    for columns in columns_of(name).values():
        summary = summarise(columns, bound)
        assert summary["certified_share"] == 1
        assert summary["coefficient_bound"] == bound
        assert 0 < summary["largest_coefficient"] <= bound
        assert 0 <= summary["mean_acceptance"] <= 1
        assert summary["mean_distance"] == pytest.approx(np.mean(columns["distance"][:-1]))
        # The study columns hold the variance, too: over h - 1.
        variance = columns["honest_deviation"] ** 2 * (N - F - 1) / (N - F)
        expected = (columns["distance"] ** 2 / variance)[:-1]
        np.testing.assert_allclose(columns["coefficient"][:-1], expected, rtol=1e-4)


@pytest.mark.slower
def test_the_average_under_attack_has_no_bound():
    assert "average" not in COEFFICIENT_BOUNDS
    columns = columns_of("average")["worker", *STRENGTHS[-1]]
    summary = summarise(columns, None)
    assert summary["coefficient_bound"] is None and summary["certified_share"] is None
    assert summary["mean_acceptance"] == pytest.approx(F / N)
    # What the median's bound would say of it.
    assert summarise(columns, COEFFICIENT_BOUNDS["median"](N, F))["certified_share"] < 1


@pytest.mark.slower
def test_without_certificates_nothing_changes():
    with_them = columns_of("median")
    for run, columns in columns_of("median", certify=False).items():
        assert set(columns) == set(Metrics._fields) - {*CERTIFICATES, "mass", "own"}
        assert set(with_them[run]) == set(Metrics._fields) - {"mass", "own"}
        for name, values in columns.items():
            got = with_them[run][name]
            np.testing.assert_allclose(got, values, rtol=1e-4, atol=1e-5, err_msg=name)

    (cell,) = cells("mnist", rules=["krum"], attacks=["little"], places=["worker"], f=[24])
    file = records.run_path("", cell.name, cell.configuration(1)).name
    assert file == "mnist-little-krum-f_24-lr_0.5-at_worker-seed_1-8fac4b6a54.parquet"
    assert "certify" not in cell.configuration(1)


def test_a_summary_by_hand():
    nan, inf = np.nan, np.inf
    columns = {
        "coefficient": np.array([0.5, 2.0, nan, 4.0, nan]),
        "distance": np.array([1.0, 2.0, inf, 3.0, nan]),
        "attack_acceptance": np.array([0.0, 0.5, 0.25, 0.25, nan]),
    }
    assert summarise(columns, 2.0) == {
        "largest_coefficient": 4.0,
        "coefficient_bound": 2.0,
        "certified_share": 0.5,
        "mean_acceptance": 0.25,
        "mean_distance": 2.0,
    }
    studied = columns.pop("attack_acceptance")
    assert summarise(columns, 2.0)["mean_acceptance"] is None
    columns["attack_acceptance"] = studied
    nothing = dict.fromkeys(columns, np.full(3, nan))
    assert summarise(nothing, 2.0)["certified_share"] == 0
    assert summarise(nothing, None) == dict.fromkeys(summarise(nothing, None))
    # Without attackers to trim, rounding is all that is between the aggregate and the mean.
    exact = columns | {"coefficient": np.full(5, 1e-13)}
    assert summarise(exact, trimmed_mean_coefficient(N, 0))["certified_share"] == 1


def test_a_run_without_honest_workers_has_no_certificate():
    config = dataclasses.replace(config_of(), n=3, f=1, num_byzantine=3, byzantine_gradients=True)
    simulator = make_simulator(config, task(), aggregators.median, None)
    state = simulator.initialise(jax.random.key(0))
    _, metrics = jax.jit(simulator.apply)(
        state, hyperparameters(*RUNS[0]), jax.random.key(0), 0, jnp.ones((3, D)), jnp.ones(3)
    )
    assert np.isnan(metrics.coefficient) and np.isnan(metrics.distance)


@pytest.mark.thorough
def test_a_certified_sweep_goes_on_from_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(many_runs, "CHUNK", 2)
    simulator = make_simulator(config_of(), task(), aggregators.median, little_or_empire)
    lanes = [many_runs.Lane(seed, hyperparameters(*RUNS[0]), f"run {seed}") for seed in (1, 2)]
    checkpoints = Checkpoints(tmp_path, np.inf, {}, lambda name: False)
    stops = iter([False, False, True])

    def run(stop=lambda: False, **options):
        options |= {"steps": STEPS, "width": 1, "stop": stop}
        return list(many_runs.sweep(simulator, lanes, {}, **options))

    with pytest.raises(many_runs.Stopped):
        run(lambda: next(stops), checkpoints=checkpoints)
    assert list(tmp_path.iterdir())
    for one, other in zip(run(checkpoints=checkpoints), run(), strict=True):
        assert set(one.columns) == set(Metrics._fields) - {"mass", "own"}
        for name, values in other.columns.items():
            np.testing.assert_array_equal(one.columns[name], values, err_msg=name)


@pytest.mark.slower
def test_the_run_of_the_page():
    page = (DOCS / "certificates.md").read_text()
    (code,) = re.findall(r"^```python$\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(compile(code, "certificates.md", "exec"), names)
    assert names["metrics"].coefficient.max() > 0


class TestExperiment:
    def test_a_certified_cell_is_a_run_of_its_own(self):
        options = {"rules": ["median"], "places": ["worker"], "f": [5]}
        plain, asked = cells("digits", **options), cells("digits", **options, certify=True)
        assert [cell.name for cell in asked] == [f"{cell.name}-certify" for cell in plain]
        assert asked[1].configuration(1)["certify"] is True
        assert reference_of(asked[1]) == asked[0]
        assert cells("digits", **options, certify=None) == plain
        assert len(programs(ExperimentRun(cell, 1) for cell in (*plain, *asked))) == 4
        row = asked[1].configuration(1)
        assert cell_of(row) == asked[1]
        assert command_of(asked[1]).endswith("--certify")
        assert "--certify" not in command_of(plain[1])

    @pytest.mark.slower
    @pytest.mark.parametrize("conventions", ["released", "published"])
    def test_every_rule_tells_whom_it_took(self, conventions):
        n, f = 11, 2
        stack = jnp.asarray(np.random.default_rng(1).normal(size=(n, 1)), jnp.float32)
        for name in (*PAPER_RULES, "average"):
            selection = selection_of(name, n, f, conventions, every=True)
            weights = quick_jit(selection, static_argnums=1)(stack, f)
            # With one coordinate the shares of rows are the weights of their mean.
            aggregate = quick_jit(rule_of(name, n, f, conventions), static_argnums=1)(stack, f)
            np.testing.assert_allclose(weights @ stack, aggregate, rtol=1e-5, err_msg=name)
            asked = selection_of(name, n, f, conventions)
            assert (asked is None) == (name != "krum")

    def test_bounds_of_the_rules(self):
        assert bound_of("trmean", N, F) == trimmed_mean_coefficient(N, F)
        assert bound_of("median", N, F) == COEFFICIENT_BOUNDS["median"](N, F)
        assert all(bound_of(name, N, F) is None for name in ("krum", "bulyan", "average"))

    def test_table_and_picture(self):
        runs = pd.DataFrame(
            {
                "dataset": "digits",
                "learning_rate": 0.5,
                "nesterov": False,
                "attack": ["none", "little", "little", "little"],
                "rule": ["average", "median", "median", "krum"],
                "n": [6, N, N, N],
                "f": [0, F, F, F],
                "momentum_at": ["update", "worker", "worker", "worker"],
                "seed": [1, 1, 2, 1],
                "digest": list("abcd"),
                "largest_coefficient": [0.0, 1.0, 3.0, np.inf],
                "coefficient_bound": [None, 16.0, 16.0, None],
                "certified_share": [None, 1.0, 0.5, None],
                "mean_acceptance": [0.0, 0.2, 0.3, None],
                "mean_distance": [0.0, 1.0, 2.0, 1e-9],
            }
        )
        lines = printed(certificates.print_tables, runs, "digits").splitlines()
        words = [line.replace("│", " ").split() for line in lines]
        assert "median 3 little worker 3 16 1 75.0 % 25.0 % 1.5".split() in words
        assert "krum 3 little worker inf - 1 - - 1e-09".split() in words
        steps = pd.DataFrame(
            {"step": [0, 1, 0, 1], "digest": list("bbdd"), "coefficient": [1.0, 0.0, np.nan, 2.0]}
        )
        figure = certificates.draw(runs[runs["attack"] != "none"], steps)
        median, krum = figure.axes
        levels = [float(line.get_ydata()[0]) for line in median.lines[1:]]
        assert levels == [16.0, 1.0]
        assert len(krum.lines) == 2  # the curve and the floor
        figure.canvas.draw()

    def test_runs_of_other_settings_are_in_a_table_of_their_own(self):
        """κ of 12 steps and of 90 in one folder: neither a largest nor a mean of both."""
        runs = pd.DataFrame(
            {
                "learning_rate": 0.5,
                "nesterov": False,
                "attack": "little",
                "rule": "median",
                "n": N,
                "f": F,
                "momentum_at": "worker",
                "unusual": ["certify steps_12", "certify"],
                "largest_coefficient": [1.0, 3.0],
                "coefficient_bound": 16.0,
                "certified_share": [1.0, 0.5],
                "mean_acceptance": 0.25,
                "mean_distance": [1.0, 2.0],
            }
        )
        lines = printed(certificates.print_tables, runs, "digits").splitlines()
        words = [line.replace("│", " ").split() for line in lines]
        assert "median 3 little worker 1 16 1 100.0 % 25.0 % 1".split() in words
        assert "median 3 little worker 3 16 1 50.0 % 25.0 % 2".split() in words
        assert sum("certify steps_12" in line for line in lines) == 1

    @pytest.mark.slower
    def test_from_the_command_line(self, tmp_path, capsys):
        arguments = "--rule median --attack little --f 2 --n 7 --steps 4 --batch-size 4 --seeds 1"
        arguments = [*arguments.split(), "--certify", "--results", str(tmp_path)]
        assert command(arguments) == 0
        shown = capsys.readouterr().out
        assert "certified" in shown and "100.0 %" in shown
        assert max(map(len, shown.partition("files:")[0].splitlines())) <= 100
        kinds = [path.suffix for path in tmp_path.rglob("*-certificates.*")]
        assert sorted(kinds) == [".pdf", ".png"]
        runs, steps = records.read_runs(tmp_path), records.read_steps(tmp_path)
        assert (runs["certified_share"] == 1).all()
        assert len(runs) == 2
        for digest, some in steps.groupby("digest", observed=True):
            largest = runs.set_index("digest").loc[digest, "largest_coefficient"]
            assert some["coefficient"].max() == pytest.approx(largest)
            assert some["attack_acceptance"].iloc[:-1].between(0, 1).all()

        assert command(["analyse", "--results", str(tmp_path)]) == 0
        shown = capsys.readouterr().out.splitlines()
        assert all("100.0 %" in line for line in shown if line.startswith("│ median"))
        assert sum(line.startswith("│ median") for line in shown) == 2
        figures = tmp_path / "figures"
        assert command(["plot", "--results", str(tmp_path), "--figures", str(figures)]) == 0
        assert len(list(figures.glob("digits-lr_*-certificates.*"))) == 2

    def test_a_grid_of_certified_runs(self):
        options = {"dataset": ("mnist",), "rule": ("median",), "f": (24,), "seeds": (1,)}
        plain = grid.select(grid.Options(**options))
        asked = grid.select(grid.Options(**options, certify=True))
        assert [run.cell.name for run in asked] == [f"{run.cell.name}-certify" for run in plain]
        assert not any(run.cell.in_paper for run in asked)
        assert len(plain) == 4 * 5  # settings; unattacked, and two attacks at two places

    def test_a_folder_without_certified_runs(self, tmp_path):
        assert certificates.runs_in(tmp_path).empty
        assert (
            certificates.plot(certificates.runs_in(tmp_path), tmp_path, tmp_path / "figures") == []
        )
