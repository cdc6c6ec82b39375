"""The benchmark: a lane is a run by itself, the ranking, resuming, a user's own rule and attack."""

import dataclasses
import functools
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.benchmark import simulate
from experiments.benchmark.__main__ import (
    SMOKE,
    Options,
    command,
    main,
    named_in_full,
    prepare,
)
from experiments.benchmark.answers import ranking
from experiments.benchmark.entries.catalogue import ALL_ATTACKS, RADIUS, behind, rule_of
from experiments.benchmark.entries.parts import RANKING
from experiments.benchmark.page import DOCS, page
from experiments.benchmark.program import Program, attack_among, defence_of, simulator_of
from experiments.benchmark.results import KEPT, read_table, write_table
from experiments.benchmark.runs import programs
from experiments.defence_matrix.runs import shares_of
from experiments.defence_matrix.simulate import split
from simbyz import aggregators, attacks
from simbyz.aggregators import AGGREGATORS
from simbyz.data import load, root
from simbyz.preaggregators import nearest_neighbor_mixing
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.sweeps import Lane, sweep
from simbyz.tasks import Dense, classification
from tests.support.printed import assert_refused

OWN = """
import jax.numpy as jnp

def middle(updates, f):
    if len(updates) < 3 * f + 1:
        raise ValueError(f"middle needs n >= 3f + 1, got n={len(updates)}, f={f}")
    return jnp.sort(updates, axis=0)[len(updates) // 2]

def swapped(f, updates, *, more):
    return updates[0]

def one_number(updates, f):
    return updates[0, 0]

def branching(updates, f):
    return updates[0] if updates[0, 0] > 0 else updates[1]

def broken(updates, f):
    return updates[0].no_such_thing

def never(updates, f):
    raise ValueError("never takes anything")

def minus_ten(key, honest, num_byzantine):
    return jnp.broadcast_to(-10 * honest[0], (num_byzantine, honest.shape[1]))

def one_row(key, honest, num_byzantine):
    return honest[0]

number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine_to_enter.py").write_text(textwrap.dedent(OWN))
    (tmp_path / "mine_that_fails.py").write_text("import no_such_package_of_mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "mine_to_enter"
    sys.modules.pop("mine_to_enter", None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    options = dataclasses.replace(SMOKE, results=tmp_path_factory.mktemp("results"))
    return options, main(options)[RANKING]


def plain(run, dataset):
    """Accuracy and parameters of a run by the simulator alone, without a number of anything."""
    training, _ = split(dataset, run.validation)
    share = shares_of([run.heterogeneity], training.train_labels, run.n, run.partition_seed)
    held = root.draw(jax.random.key(run.partition_seed), training.train_labels, 100)
    task = classification(
        training,
        Dense(run.hidden, dataset.num_classes),
        batch_size=run.batch_size,
        partition=share[run.heterogeneity],
        root=held if run.rule == "fltrust" else None,
    )
    relabel = attack = None
    if run.attack in attacks.DATA_ATTACKS:
        relabel = functools.partial(attacks.DATA_ATTACKS[run.attack], num_classes=10)
    elif run.attack != "none":
        attack = attacks.ATTACKS[run.attack]
        if run.attack == "sign_flipping":  # of the honest mean, not of its own
            attack = lambda key, honest, count: attacks.sign_flipping(key, honest, count)  # noqa: E731
    config = Config(n=run.n, f=run.f, byzantine_gradients=True, evaluate_every=None, study=False)
    rule = behind(run.pre, rule_of(run.rule))
    simulator = make_simulator(config, task, rule, attack, relabel=relabel)
    numbers = Hyperparameters(
        run.learning_rate,
        worker=Momentum(run.momentum, 1 - run.momentum),
        weight_decay=run.weight_decay,
    )
    (result,) = sweep(simulator, [Lane(run.seed, numbers)], task.data, steps=run.steps, width=1)
    return result


@pytest.mark.slower
def test_lanes_go_through_their_own_branches():
    """Of lanes side by side, each its own rule, pre-aggregator and attack, as called alone."""
    names = ("median", "trimmed_mean", "centered_clipping")
    sent = ("none", "fall_of_empires", "mimic")
    program = Program(7, 2, names, ("none", "nnm"), sent, evaluations=1)
    rows = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    key, defence, attack = jax.random.key(0), defence_of(program), attack_among(program)
    lanes = [
        program.numbers(rule, pre, attack)
        for rule, pre, attack in (
            ("trimmed_mean", "nnm", "mimic"),
            ("median", "none", "none"),
            ("centered_clipping", "none", "fall_of_empires"),
        )
    ]

    def of_lane(rule, pre, attacked):
        byzantine = attack(key, rows[:5], 2, own=rows[5:], rule=rule, pre=pre, attack=attacked)
        stack = jnp.concatenate([rows[:5], byzantine])
        memory = defence.start(jnp.zeros(5))._replace(rule=rule, pre=pre)
        return byzantine, defence.aggregate(stack, 2, key=key, state=memory)

    numbers = [jnp.asarray([lane[name] for lane in lanes]) for name in ("rule", "pre", "attack")]
    got = jax.jit(jax.vmap(of_lane))(*numbers)
    sending = [rows[[0, 0]], rows[5:], np.tile(-0.1 * rows[:5].mean(axis=0), (2, 1))]
    for lane, byzantine in enumerate(sending):
        np.testing.assert_allclose(got[0][lane], byzantine, rtol=1e-5, atol=1e-6)
    stacks = [np.concatenate([rows[:5], byzantine]) for byzantine in sending]
    want = [
        aggregators.trimmed_mean(nearest_neighbor_mixing(stacks[0], 2), 2),
        aggregators.median(stacks[1], 2),
        aggregators.centered_clipping(stacks[2], 2, radius=RADIUS),
    ]
    np.testing.assert_allclose(got[1], np.stack(want), rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_a_lane_is_the_run_by_itself(tmp_path):
    """Every kind of branch: a rule with a key, with a memory, behind mixing; sent and poisoned."""
    options = dataclasses.replace(
        SMOKE,
        rule=("median", "centered_clipping", "dnc", "fltrust"),
        pre=("none", "nnm"),
        attack=("none", "gaussian", "sign_flipping", "label_flipping"),
        f=(2,),
        learning_rate=(0.5,),
        seeds=(3,),
        steps=4,
    )
    prepared = prepare(dataclasses.replace(options, results=tmp_path))
    table = main_of(prepared)
    for rule, pre, attack in (
        ("median", "none", "sign_flipping"),
        ("centered_clipping", "none", "gaussian"),
        ("dnc", "nnm", "none"),
        ("median", "nnm", "label_flipping"),
        ("fltrust", "none", "sign_flipping"),
    ):
        (run,) = [
            run for run in prepared.runs if (run.rule, run.pre, run.attack) == (rule, pre, attack)
        ]
        alone = plain(run, prepared.dataset)
        np.testing.assert_allclose(
            table[run].parameters, alone.parameters, rtol=1e-4, atol=1e-6, err_msg=str(run)
        )


def main_of(prepared):
    """The results of all runs, by run; rules that the server judges by have a program."""
    first = prepared.runs[0]
    training, _ = split(prepared.dataset, first.validation)
    share = shares_of(["iid"], training.train_labels, first.n, 0)["iid"]
    found, groups = {}, programs(prepared.runs)
    assert [program.rules for program in groups][1:] == [("fltrust",)]
    for program, group in groups.items():
        task = simulate.task_of(group[0], training, share)
        simulator = simulator_of(program, task)
        for some in simulate.batches(group):
            data = simulate.data_of(some[0], task.data, training, share)
            lanes = [Lane(run.seed, simulate.hyperparameters_of(run, program)) for run in some]
            results = sweep(simulator, lanes, data, steps=first.steps, width=2)
            found |= dict(zip(some, results, strict=True))
    return found


def test_only_the_byzantine_workers_examples_are_mislabelled():
    training, _ = split(load("digits"), 0.2)
    share = shares_of(["dirichlet:1"], training.train_labels, 8, 0)["dirichlet:1"]
    labels = training.train_labels
    got = simulate.mislabelled("label_flipping", labels, share, 2, 10)
    for worker in range(8):
        held = np.asarray(share.indices)[worker, : int(share.counts[worker])]
        want = 9 - labels[held] if worker >= 6 else labels[held]
        np.testing.assert_array_equal(got[held], want)


def test_a_smoke_run_is_resumed(finished, monkeypatch):
    options, outcome = finished
    assert len(outcome.runs) == 3 * 3 * 2 * 2  # krum refuses f = 3
    assert outcome.runs["test_accuracy"].between(0, 1).all()
    monkeypatch.setattr(simulate, "simulator_of", lambda *_: pytest.fail("computed again"))
    again = main(options)[RANKING]
    pd.testing.assert_frame_equal(again.table, outcome.table)
    pd.testing.assert_frame_equal(again.runs, outcome.runs)


def test_shards_and_resumed_runs_are_those_of_one_go(finished, tmp_path):
    """Byte for byte but for the time they took; a run is of one shard."""
    options, outcome = finished
    options = dataclasses.replace(options, results=tmp_path)
    first, second = (
        prepare(dataclasses.replace(options, shard=shard)).mine for shard in ("1/2", "2/2")
    )
    assert sorted(map(repr, first + second)) == sorted(map(repr, prepare(options).runs))
    assert {one.f for one in first} == {1} and {one.f for one in second} == {1, 3}
    assert main(dataclasses.replace(options, shard="2/2")) == {}  # the other has runs left
    (path,) = (tmp_path / "runs").glob("median-*-f_3*")
    some = read_table(path)
    write_table(some[some["seed"] == 2].iloc[1:], path)
    runs = main(options)[RANKING].runs
    given = []
    for number, table in enumerate((outcome.runs, runs)):
        write_table(table.drop(columns="seconds"), tmp_path / f"{number}.parquet")
        given.append((tmp_path / f"{number}.parquet").read_bytes())
    assert given[0] == given[1]


def test_what_is_damaged_is_named(finished, tmp_path):
    options, _ = finished
    (tmp_path / "runs").mkdir()
    (path,) = (options.results / "runs").glob("krum*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "runs" / path.name).write_bytes(content)
    with pytest.raises(ValueError, match="damaged; remove it"):
        prepare(dataclasses.replace(options, results=tmp_path))


@pytest.mark.slower
def test_the_dry_run_computes_nothing(tmp_path, capsys):
    assert command(["--dry-run", "--full", "--rule", "median", "--results", str(tmp_path)]) == 0
    words = capsys.readouterr().out
    assert " runs, 0 of them finished; " in words and "programs, about " in words
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.slower
def test_all_rules_and_attacks_are_known():
    assert named_in_full(Options()).rule == tuple(AGGREGATORS)
    assert set(attacks.ATTACKS) | set(attacks.DATA_ATTACKS) < set(ALL_ATTACKS)
    refusals = simulate.refusals_of(tuple(AGGREGATORS), [("none", 2)], (), 20)
    assert not refusals


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--rule medain", "rule must be one of average, median"),
        ("--attack lies", "attack must be one of none, "),
        ("--pre mixed", "pre must be one of none, nnm, arc, bucketing, got 'mixed'"),
        ("--shard 3/2", "shard must be K/N with K from 1 to N, such as 1/2, got '3/2'"),
        ("--rule fltrust --root-examples 0", "root_examples must be from 1 to 1150, the training"),
        ("--f 20", "f must be from 1 to below n = 20, got 20"),
        ("--rule krum --f 9", "no rule takes any f: krum needs n >= 2f + 3, got n=20, f=9"),
        ("--rule no_such_module_of_mine:rule", "there is no module no_such_module_of_mine"),
        ("--rule mine_that_fails:rule", "ModuleNotFoundError: No module named 'no_such_package"),
        ("--rule mine_to_enter:nothing", "module mine_to_enter has no nothing"),
        ("--rule mine_to_enter:", "must be module:name"),
        ("--rule mine_to_enter:number", "must be a function, got int"),
        ("--rule mine_to_enter:swapped", "must take (updates, f): missing a required"),
        ("--rule mine_to_enter:one_number", "must return an aggregate (d,) of floats, here (4,)"),
        ("--rule mine_to_enter:branching", "can't be compiled: write it with jax.numpy"),
        ("--rule mine_to_enter:broken", "fails: AttributeError"),
        ("--rule mine_to_enter:never", "refuses every f: never takes anything"),
        ("--attack mine_to_enter:one_row", "must return a row an attacker, (num_byzantine, d),"),
        ("--attack mine_to_enter:middle", "must take (key, honest, num_byzantine): too many"),
    ],
)
def test_refusals_in_one_line(arguments, words, module, tmp_path, capsys):
    # One rule of the library's where none is given, for the time that all take to trace.
    given = arguments if "--rule" in arguments else f"{arguments} --rule median"
    assert_refused(command, given, words, tmp_path, capsys)


def only(folder, name):
    """The one file of this name, in the folder of the question."""
    (path,) = folder.rglob(name)
    return path


@pytest.mark.slower
def test_an_own_rule_and_attack_stand_in_the_table(finished, module, capsys):
    options, outcome = finished
    values = {
        name: getattr(options, name)
        for name in ("n", "steps", "hidden", "f", "heterogeneity", "seeds", "pre")
    }
    words = []
    for name, value in values.items():
        words += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
    words += ["--rule", *options.rule, f"{module}:middle"]
    words += ["--attack", *options.attack, f"{module}:minus_ten"]
    words += ["--results", str(options.results), "--format", "csv"]
    assert command(words) == 0
    printed = capsys.readouterr().out
    assert f"\n{module}:middle,," in printed
    assert f"{module}:middle: middle needs n >= 3f + 1, got n=8, f=3" in " ".join(printed.split())
    table = pd.read_csv(only(options.results, "benchmark.csv"))
    assert set(table["rule"]) == {"median", "krum", f"{module}:middle"}
    attacked = pd.read_csv(only(options.results, "attacks.csv"))
    assert set(attacked["attack"]) == {*options.attack, f"{module}:minus_ten"}
    assert len(attacked) == 4 * (2 + 1 + 1)  # median twice, krum and the own rule at f = 1
    runs = pd.concat([pd.read_parquet(path) for path in (options.results / "runs").iterdir()])
    assert len(runs) == len(outcome.runs) + (3 * 1 + 4) * 2 * 2


def made_up():
    """Runs of two rules, rates and attacks, with random results."""
    rng = np.random.default_rng(0)
    axes = {
        "rule": ["median", "krum", "average"],
        "pre": ["none", "nnm"],
        "f": [2, 6],
        "heterogeneity": ["iid", "dirichlet:1"],
        "momentum": [0.9, 0.0],
        "attack": ["none", "a", "b"],
        "learning_rate": [0.5, 0.1],
        "seed": [1, 2, 3],
    }
    runs = pd.MultiIndex.from_product(axes.values(), names=list(axes)).to_frame(index=False)
    for column in ("validation_accuracy", "test_accuracy"):
        runs[column] = rng.random(len(runs))
    return runs.assign(diverged=False, seconds=0.1, steps=10)


def by_hand(runs, cell):
    """The worst attack of a cell and its accuracies by seed, in plain loops."""
    best = (-1.0,)
    for rate in (0.5, 0.1):
        tests, validations = {}, {}
        for attack in ("none", "a", "b"):
            some = [
                run
                for run in runs.to_dict("records")
                if tuple(run[name] for name in ranking.CELL) == cell
                and (run["learning_rate"], run["attack"]) == (rate, attack)
            ]
            tests[attack] = [run["test_accuracy"] for run in some]
            validations[attack] = sum(run["validation_accuracy"] for run in some) / 3
        if min(validations.values()) > best[0]:
            best = (min(validations.values()), rate, tests)
    _, rate, tests = best
    worst = min(tests, key=lambda attack: sum(tests[attack]))
    return rate, worst, tests[worst], sum(tests["none"]) / 3


@pytest.mark.slower
def test_the_ranking_is_of_worst_cases():
    """Against plain loops; the interval is Student's, of three paired differences."""
    runs = made_up()
    table = ranking.worst_cases(runs)
    assert len(table) == 3 * 2 * 2 * 2 * 2
    for _, some in table.groupby(["f", "heterogeneity", "momentum"], sort=False):
        rows = some.to_dict("records")
        assert [row["rank"] for row in rows] == list(range(1, 7))
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            rate, worst, seeds, calm = by_hand(runs, tuple(row[name] for name in ranking.CELL))
            assert (row["learning_rate"], row["worst_attack"]) == (rate, worst)
            assert row["test_accuracy"] == pytest.approx(sum(seeds) / 3)
            assert row["deviation"] == pytest.approx(np.std(seeds, ddof=1))
            assert row["unattacked"] == pytest.approx(calm)
            if following is None:
                assert np.isnan(row["difference"]) and not row["beyond_noise"]
                continue
            other = by_hand(runs, tuple(following[name] for name in ranking.CELL))[2]
            apart = np.array(seeds) - np.array(other)
            margin = 4.302652729911275 * np.std(apart, ddof=1) / 3**0.5  # t of 2 degrees, 97.5 %
            assert row["difference"] == pytest.approx(apart.mean()) and row["difference"] >= 0
            assert row["low"] == pytest.approx(apart.mean() - margin)
            assert row["beyond_noise"] == (abs(apart.mean()) > margin)


def test_breakdown_is_below_half_of_the_best_unattacked():
    table = ranking.worst_cases(made_up())
    found = ranking.breakdown(table).set_index([*ranking.DEFENCE, "heterogeneity"])["breakdown"]
    assert len(found) == 3 * 2 * 2 * 2 and found.notna().any()
    for (rule, pre, momentum, level), point in found.items():
        same = table[(table["heterogeneity"] == level) & (table["momentum"] == momentum)]
        broken = [
            f
            for f, some in same.groupby("f")
            for row in some.to_dict("records")
            if (row["rule"], row["pre"]) == (rule, pre)
            and row["test_accuracy"] < some["unattacked"].max() / 2
        ]
        assert (point == min(broken)) if broken else np.isnan(point)


def test_what_mixing_adds_is_paired():
    runs = made_up()
    found = ranking.gains(runs, "pre", "none")
    assert len(found) == 2 * 2 and set(found["rules"]) == {6}
    row = found[(found["f"] == 6) & (found["heterogeneity"] == "iid")].iloc[0]
    differences = []
    for rule in ("median", "krum", "average"):
        for momentum in (0.9, 0.0):
            with_, without = (
                by_hand(runs, (rule, pre, 6, "iid", momentum))[2] for pre in ("nnm", "none")
            )
            differences.append(np.array(with_) - np.array(without))
    assert row["mean"] == pytest.approx(np.mean(differences))
    assert row["better"] == sum(one.mean() > 0 for one in differences)
    means = np.mean(differences, axis=0)
    margin = 4.302652729911275 * np.std(means, ddof=1) / 3**0.5
    assert (row["low"], row["high"]) == pytest.approx(
        (means.mean() - margin, means.mean() + margin)
    )


@pytest.mark.thorough
def test_searched_attacks_and_buckets(tmp_path):
    options = dataclasses.replace(
        SMOKE,
        rule=("median", "dnc"),
        pre=("none", "bucketing"),
        attack=("none", "adaptive_little", "gradient_ascent", "fang_krum"),
        f=(1,),
        steps=3,
        evaluations=3,
        results=tmp_path,
    )
    runs = main(options)[RANKING].runs
    assert len(runs) == 2 * 2 * 4 * 2 * 2 and np.isfinite(runs["training_loss"]).all()


@pytest.mark.slower
def test_the_page_says_what_the_kept_table_says():
    """Character by character, and three of its cells by hand."""
    runs = read_table(KEPT / "digits.parquet")
    text = DOCS.read_text(encoding="utf-8")
    assert text == page(runs, read_table(KEPT / "digits-labels.parquet"))
    for rule, f, level in (("dnc", 2, "iid"), ("krum", 6, "iid"), ("bulyan", 2, "dirichlet:1")):
        some = runs[(runs["rule"] == rule) & (runs["f"] == f) & (runs["heterogeneity"] == level)]
        best = max(
            (
                min(part.groupby("attack")["validation_accuracy"].mean()),
                -place,
                part.groupby("attack")["test_accuracy"].mean().min(),
            )
            for place, (_, part) in enumerate(some.groupby("learning_rate", sort=False))
        )
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{rule}` |")]
        column = {(2, "iid"): 2, (2, "dirichlet:1"): 3, (6, "iid"): 4}[f, level]
        assert line.split("|")[column].strip().startswith(f"{100 * best[2]:.1f} ± ")
