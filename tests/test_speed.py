"""The speed experiment computes and reports; no figure is judged here."""

import io

import numpy as np
import pytest
from rich.console import Console

from experiments.speed import report
from experiments.speed.__main__ import command
from experiments.speed.rules import measure, rules
from experiments.speed.timing import interleaved


def test_rules_that_refuse_are_left_out():
    assert "bulyan" not in rules(11, 4)
    assert {"median", "krum", "krum (released)", "bulyan (released)"} < set(rules(11, 2))


def test_measure_and_report():
    said = []
    frame = measure([(7, 50, 1)], repetitions=2, only=["median"], tell=said.append)
    assert list(frame["what"])[:3] == ["floor: one pass", "floor: n × n × d product", "median"]
    assert (frame["milliseconds"] > 0).all()
    assert frame.set_index("what").loc["floor: one pass", "passes"] == 1
    text = io.StringIO()
    for table in report.table(frame):
        Console(file=text, width=100).print(table)
    assert "median" in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) <= 100
    assert len(report.plot(frame).axes) == 1


def test_functions_take_turns():
    order = []
    timings = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4  # one turn to warm up
    assert all(timing.least <= timing.median <= timing.most for timing in timings.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--n 7 --f 1", "give all three"),
        ("--repetitions 0", "repetitions must be at least 1, got 0"),
        ("--rule kurm", "unknown rules ['kurm']; known: average"),
    ],
)
def test_bad_input(arguments, message, tmp_path, capsys):
    assert command([*arguments.split(), "--results", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_command_writes_a_table_and_a_picture(tmp_path, capsys):
    arguments = "--n 5 --d 20 --f 1 --rule median --repetitions 1 --no-peers --results"
    assert command([*arguments.split(), str(tmp_path)]) == 0
    assert "median" in capsys.readouterr().out
    assert np.loadtxt(tmp_path / "rules.csv", delimiter=",", skiprows=1, usecols=0).size == 3
    assert (tmp_path / "rules.png").exists()
