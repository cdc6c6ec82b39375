"""The experiment on the strength of attacks: its command line, its report, and a small run."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from experiments.attack_strength import study as experiment
from experiments.attack_strength import tables
from experiments.attack_strength.__main__ import SMOKE, command, main, plot
from experiments.attack_strength.measure import bears, fixed_attacks
from simbyz import records
from simbyz.attacks import ATTACKS
from simbyz.sweeps import Stopped
from tests.support.printed import assert_refused, printed


@pytest.mark.slower
@pytest.mark.parametrize("rules", [SMOKE.rule, ("krum",)])
def test_smoke(rules, tmp_path):
    """Every attack on every rule at every step; the climb is never the weaker."""
    options = dataclasses.replace(SMOKE, rule=rules, results=tmp_path)
    results = main(options)
    attacks = [*fixed_attacks(2), "gradient_ascent"]
    attacks += [
        f"{direction}, {search}"
        for direction in ("little", "little-negative", "empire")
        for search in ("sequential", "bracketing", "looking ahead")
    ]
    measured = results.measured
    assert set(measured["attack"]) == set(attacks)
    assert len(measured) == len(attacks) * len(options.rule) * len(options.at_step)
    assert set(measured["step"]) == set(options.at_step)
    for _, group in measured.groupby(["rule", "step"]):
        strengths = group.set_index("attack")["strength"]
        assert strengths["gradient_ascent"] >= 0.999 * strengths.drop("gradient_ascent").max()
        for direction in ("little", "little-negative", "empire"):
            sequential = strengths[f"{direction}, sequential"]
            assert strengths[f"{direction}, looking ahead"] >= 0.999 * sequential
    assert all(file.stat().st_size > 0 for file in plot(results, options))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (("median",), [11]),  # (25 - 3) / 2: a second f would be bulyan's alone
        (("bulyan",), [5]),  # (25 - 3) / 4
        (("median", "bulyan"), [11, 5]),
        (("bulyan", "krum"), [11, 5]),
    ],
)
def test_as_many_attackers_as_the_rules_asked_for_bear(rules, expected):
    assert experiment.most_borne(rules, 25) == expected


@pytest.mark.filterwarnings("ignore:set aside")
def test_what_is_there_is_not_measured_again_and_what_is_damaged_is(tmp_path, monkeypatch):
    def measured_at_once(honest, n, f, rules, *, finished, **_):
        for rule in rules:
            row = {"attack": "nan", "kind": "fixed", "strength": len(rule) / 3, "cosine": 0.5}
            finished(rule, [row | {"step": step} for step in (0, 1)])

    monkeypatch.setattr(experiment, "record", lambda *_, **__: None)
    monkeypatch.setattr(experiment, "measure", measured_at_once)
    options = dataclasses.replace(SMOKE, rule=("median", "krum"), results=tmp_path)
    measured = main(options).measured
    assert measured["rule"].tolist() == ["median"] * 2 + ["krum"] * 2
    files = sorted(tmp_path.glob("*.parquet"))
    assert len(files) == len(options.rule)
    times = [file.stat().st_mtime_ns for file in files]
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "record", None)
        again = main(options)
    pd.testing.assert_frame_equal(again.measured, measured)
    files[1].write_bytes(b"")
    with pytest.warns(RuntimeWarning, match=f"skipped {files[1]}"):
        again = main(options)
    pd.testing.assert_frame_equal(again.measured, measured)
    assert [file.stat().st_mtime_ns > time for file, time in zip(files, times, strict=True)] == [
        False,
        True,
    ]
    files[0].unlink()
    monkeypatch.setattr(experiment, "_code", lambda: "0123456789")
    with pytest.raises(ValueError, match="runs of different code: .*--allow-mixed"):
        experiment.prepare(options)
    experiment.prepare(dataclasses.replace(options, allow_mixed=True))


def test_a_stop_keeps_the_rules_that_are_done(tmp_path, monkeypatch, capsys):
    def stopped(honest, n, f, rules, *, finished, **_):
        row = {"attack": "nan", "kind": "fixed", "step": 0, "strength": np.inf, "cosine": np.nan}
        finished(rules[0], [row])
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "record", lambda *_, **__: None)
    monkeypatch.setattr(experiment, "measure", stopped)
    assert command(["--n", "7", "--f", "2", "--results", str(tmp_path)]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    (run,) = records.read_runs(tmp_path).to_dict("records")
    assert run["rule"] == "krum" and run["measured"][0]["step"] == 20
    assert run["measured"][0]["strength"] == np.inf and np.isnan(run["measured"][0]["cosine"])


def test_an_attack_that_cannot_be_made_is_named(tmp_path):
    options = dataclasses.replace(SMOKE, n=(5,), f=(2,), results=tmp_path)
    sizes, dataset = experiment.prepare(options)
    with pytest.warns(RuntimeWarning, match="n = 5, f = 2 leaves too few .* for fang_krum"):
        with pytest.raises(Stopped):
            experiment.compute(options, sizes, dataset, stop=lambda: True)


def test_every_attack_without_a_memory_is_measured():
    assert set(fixed_attacks(2)) == set(ATTACKS)
    # n = 2f + 1, which medians bear and krum, whom `fang_krum` is made for, does not.
    assert set(ATTACKS) - set(fixed_attacks(2, 5)) == {"fang_krum"}
    assert set(fixed_attacks(2, 6)) == set(ATTACKS)


def some_results():
    rng = np.random.default_rng(0)
    rows = [
        {"n": n, "f": f, "rule": rule, "attack": attack, "kind": kind, "step": step}
        | {"strength": rng.random() * 9, "cosine": rng.random()}
        for n, f in ((51, 24), (51, 12))
        for rule in ("krum", "krum-published", "bulyan-published")
        for attack, kind in (
            ("relocated_orthogonal_perturbation", "fixed"),
            ("nan", "fixed"),
            ("little-negative, sequential", "searched"),
            ("gradient_ascent", "climbed"),
        )
        for step in (1, 2)
    ]
    table = pd.DataFrame(rows)
    table.loc[table["attack"] == "nan", "strength"] = np.nan
    return tables.summarise(table)


def test_report():
    summary = some_results()
    best = tables.strongest(summary)
    assert len(best) == 6
    assert set(best["fixed_attack"]) == {"relocated_orthogonal_perturbation"}
    rows = summary[(summary["rule"] == "krum") & (summary["f"] == 12)].set_index("attack")
    shown = best[(best["rule"] == "krum") & (best["f"] == 12)].iloc[0]
    assert shown["climbed_strength"] == rows.loc["gradient_ascent", "strength"]
    assert shown["gain"] == shown["climbed_strength"] / max(
        shown["fixed_strength"], shown["searched_strength"]
    )
    assert "climbed" in printed(tables.print_table, best, "title")
    written = tables.markdown(summary, "Title", "python -m experiments.attack_strength")
    assert written.startswith("# Title\n")
    assert "| nan | ∞ |" in written
    assert written.count("\n| gradient_ascent |") == 2
    assert len(tables.plot(summary, "title").axes) == 3  # two sizes and the scale


def test_a_rule_is_left_out_where_it_has_no_guarantee():
    assert bears("bulyan", 25, 5) and not bears("bulyan-published", 25, 11)
    assert bears("krum", 25, 11) and not bears("krum-published", 25, 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rule bulyan --n 25 --f 11", "none of bulyan bears n = 25, f = 11"),
        ("--f 30", "f must be from 1 to n - 2 = 23, got 30"),
        ("--at-step -1", "at_step must be at least 0, got -1"),
        ("--climbers 0", "climbers must be at least 1, got 0"),
        ("--seed -1", "seed must be from 0 to 2^31 - 1, got -1"),
        ("--rule", "rule must name at least one"),
    ],
)
def test_bad_input(arguments, message, tmp_path, capsys):
    assert_refused(command, arguments, message, tmp_path, capsys)


def test_an_unknown_rule_is_refused_by_the_command_line(tmp_path):
    with pytest.raises(SystemExit) as stop:
        command(["--rule", "kurm", "--results", str(tmp_path)])
    assert stop.value.code == 2
