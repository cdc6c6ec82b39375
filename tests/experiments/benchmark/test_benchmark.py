"""The benchmark: refusals, resuming, shards, a rule and an attack of one's own."""

import dataclasses
import os
import shutil
import sys
import textwrap
import threading

import pandas as pd
import pytest

from experiments.benchmark import results, simulate
from experiments.benchmark.__main__ import SMOKE, Options, command, main
from experiments.benchmark.entries import own
from experiments.benchmark.entries.catalogue import ALL_ATTACKS
from experiments.benchmark.entries.parts import CLIMBED, PARTS, RANKING
from experiments.benchmark.results import KEPT, Results, read_table, write_table
from experiments.benchmark.runs import programs
from experiments.benchmark.study import named_in_full, parts_of, prepare, runs_of
from simbyz import attacks
from simbyz.aggregators import AGGREGATORS
from tests.support.printed import assert_refused

OWN = """
import jax.numpy as jnp
from simbyz.aggregators.base import StatefulRule

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

def leaving(updates, f):
    raise SystemExit(3)

def positional(updates, f, key):
    return updates[0]

def last(updates, f, *, state):
    return state

growing = StatefulRule(last, lambda zeros: zeros, lambda state, updates, aggregate: updates)
telling = StatefulRule(last, lambda zeros: zeros, lambda state: state)
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


def test_a_smoke_run_is_resumed(finished, monkeypatch):
    options, outcome = finished
    assert len(outcome.runs) == 3 * 3 * 2 * 2  # krum refuses f = 3
    assert outcome.runs["test_accuracy"].between(0, 1).all()
    monkeypatch.setattr(simulate, "simulator_of", lambda *_: pytest.fail("computed again"))
    again = main(options)[RANKING]
    pd.testing.assert_frame_equal(again.table, outcome.table)
    pd.testing.assert_frame_equal(again.runs, outcome.runs)


@pytest.mark.slower
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


@pytest.mark.skipif(os.name != "posix", reason="permissions of files")
def test_a_file_that_one_may_not_read_is_named_and_stays(tmp_path, monkeypatch):
    runs = read_table(KEPT / "digits.parquet").head(1)
    path = tmp_path / "runs" / "some.parquet"
    path.parent.mkdir()
    write_table(runs, path)
    # As of another user's; root may read all.
    monkeypatch.setattr(os, "access", lambda file, mode: file != path)
    with pytest.raises(PermissionError, match=f"table of runs {path} can't be read: Permission"):
        Results(tmp_path, mend=True)
    assert list(path.parent.iterdir()) == [path]


def test_what_is_damaged_is_named_and_computed_again(finished, tmp_path):
    options, outcome = finished
    shutil.copytree(options.results / "runs", tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("krum*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"krum.* its SHA-256 is wrong.*computes its runs again"):
        Results(tmp_path)
    options = dataclasses.replace(options, results=tmp_path)
    with pytest.warns(RuntimeWarning) as told:
        again = main(options)[RANKING]
    assert any(f"set aside: {path}" in str(one.message) for one in told)
    assert path.with_name(f"{path.name}.damaged").read_bytes() == content
    pd.testing.assert_frame_equal(again.table, outcome.table)


def test_two_that_add_to_one_file_lose_no_rows(tmp_path, monkeypatch):
    """The second comes between what the first reads and writes."""
    kept = read_table(KEPT / "digits.parquet")
    one, two = kept[kept["rule"] == "median"].head(2).to_dict("records")
    second = threading.Thread(target=lambda: Results(tmp_path).add([{**two, "rule": "median"}]))
    join = results._joined

    def late(tables):
        if not second.ident:
            second.start()
            second.join(1)
        return join(tables)

    first = Results(tmp_path)
    monkeypatch.setattr(results, "_joined", late)
    first.add([one])
    second.join()
    assert len(Results(tmp_path).runs) == 2
    first.add([one])
    assert len(Results(tmp_path).runs) == 2


def test_another_table_is_none_of_the_benchmarks(tmp_path):
    (tmp_path / "runs").mkdir()
    write_table(pd.DataFrame({"rule": ["median"]}), tmp_path / "runs" / "median-none-f_2.parquet")
    with pytest.raises(ValueError, match=r"median-none-f_2\.parquet .* it has no dataset"):
        Results(tmp_path)


@pytest.mark.slower
def test_the_dry_run_computes_nothing(tmp_path, capsys):
    assert command(["--dry-run", "--full", "--rule", "median", "--results", str(tmp_path)]) == 0
    words = capsys.readouterr().out
    assert " runs, 0 of them finished; " in words and "programs, about " in words
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_part_of_some_rules_asks_for_those_alone(module):
    whole = parts_of(Options(full=True))
    assert whole["climbed"].rule == tuple(rule for rule in AGGREGATORS if rule in CLIMBED)
    assert whole["ranking"].rule == tuple(AGGREGATORS)
    asked = parts_of(Options(full=True, rule=("krum", "median", f"{module}:middle")))
    assert asked["climbed"].rule == ("median", f"{module}:middle")
    assert "climbed" not in parts_of(Options(full=True, rule=("krum",)))


@pytest.mark.slower
def test_a_part_that_is_refused_whole_is_left_out(tmp_path):
    """bulyan takes f to 4 of 20, and some parts begin at 6."""
    prepared = prepare(Options(full=True, rule=("bulyan",), results=tmp_path))
    assert set(PARTS) - set(prepared.parts) == {"searched", "climbed"}
    assert all(prepared.parts.values())


def test_the_climb_has_a_program_of_its_own():
    options = dataclasses.replace(
        SMOKE, rule=("median",), attack=("adaptive_little", "gradient_ascent"), f=(1,)
    )
    groups = programs(runs_of(options, {}))
    assert [program.attacks for program in groups] == [("adaptive_little",), ("gradient_ascent",)]
    assert [len(runs) for runs in groups.values()] == [4, 4]


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
        ("--shard 1/99999999999", "shard must be at most 2^31 - 1"),
        ("--full --f 3 4", "full has f of its own, got --f 3 4: leave one of the two out"),
        ("--full --attack none", "full has attack of its own, got --attack none"),
        ("--hidden 2000000000", "hidden = 2000000000 with 20 workers takes at least 10,240 GB"),
        ("--rule fltrust --root-examples 0", "root_examples must be from 1 to 1150, the training"),
        ("--root-examples 60", "root_examples acts only with rules that judge by the server's"),
        ("--evaluations 9", "evaluations acts only with the attacks adaptive_empire, "),
        ("--f 20", "f must be from 1 to below n = 20, got 20"),
        (
            "--rule median --n 5 --f 2 --attack none fang_krum",
            "attack fang_krum can't be made of n = 5, f = 2: fang_krum needs n >= f + 3 and n >= 2",
        ),
        (
            "--rule average --n 5 --f 4 --attack adaptive_little",
            "attack adaptive_little can't be made of n = 5, f = 4: a search needs at least 2",
        ),
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
        ("--rule mine_to_enter:leaving", "fails: SystemExit: 3"),
        (
            "--rule mine_to_enter:positional",
            "and what it asks for behind a star, as in (updates, f, *, key):",
        ),
        ("--rule mine_to_enter:growing", "learn must return what start does, here float32 (4,)"),
        ("--rule mine_to_enter:telling", "learn must take (state, updates, aggregate): too many"),
        ("--attack mine_to_enter:one_row", "must return a row an attacker, (num_byzantine, d),"),
        ("--attack mine_to_enter:middle", "must take (key, honest, num_byzantine): too many"),
    ],
)
def test_refusals_in_one_line(arguments, words, module, tmp_path, capsys):
    # One rule of the library's where none is given, for the time that all take to trace.
    given = arguments if "--rule" in arguments else f"{arguments} --rule median"
    assert_refused(command, given, words, tmp_path, capsys)


def test_a_rule_that_comes_from_another_file_is_new_when_that_file_changes(module, tmp_path):
    (tmp_path / "mine_by_name.py").write_text(
        f"import functools\nfrom {module} import middle, growing\n"
        "some = functools.partial(middle)\n"
    )
    names = [f"mine_by_name:{name}" for name in ("middle", "growing", "some")]
    before = [own.digest(name) for name in names]
    path = tmp_path / f"{module}.py"
    path.write_text(path.read_text() + "# changed\n")
    assert not set(before) & {own.digest(name) for name in names}
    sys.modules.pop("mine_by_name")


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
    printed, beside = capsys.readouterr()
    assert f"\n{module}:middle,," in printed
    refused = f"{module}:middle: middle needs n >= 3f + 1, got n=8, f=3"
    assert f"{refused}\n" in beside and "needs n" not in printed  # which is read as a table
    table = pd.read_csv(only(options.results, "benchmark.csv"))
    assert set(table["rule"]) == {"median", "krum", f"{module}:middle"}
    attacked = pd.read_csv(only(options.results, "attacks.csv"))
    assert set(attacked["attack"]) == {*options.attack, f"{module}:minus_ten"}
    assert len(attacked) == 4 * (2 + 1 + 1)  # median twice, krum and the own rule at f = 1
    runs = pd.concat([pd.read_parquet(path) for path in (options.results / "runs").iterdir()])
    assert len(runs) == len(outcome.runs) + (3 * 1 + 4) * 2 * 2
