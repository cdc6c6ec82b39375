"""The speed experiment computes and reports; no figure is judged here."""

import pandas as pd
import pytest

from experiments.distributed_momentum.grid import cells
from experiments.distributed_momentum.grid.settings import SMALL
from experiments.speed import floor, tables
from experiments.speed.__main__ import command
from experiments.speed.measured import grid, memory, run
from experiments.speed.measured.rules import measure, rules
from experiments.speed.timing import Overwriting, interleaved
from simbyz import data
from tests.support.printed import assert_refused, printed


@pytest.mark.slower
def test_rules_that_refuse_are_left_out():
    assert "bulyan" not in rules(11, 4)
    assert {"median", "krum", "krum (released)", "bulyan (released)"} < set(rules(11, 2))


def test_measure_and_report():
    said = []
    frame = measure([(7, 50, 1)], repetitions=2, only=["median"], tell=said.append)
    assert list(frame["what"])[:3] == ["floor: one pass", "floor: n × n × d product", "median"]
    assert (frame["milliseconds"] > 0).all()
    assert frame.set_index("what").loc["floor: one pass", "passes"] == 1
    (table,) = tables.table(frame)
    assert "median" in printed(lambda console: console.print(table))
    assert len(tables.plot(frame).axes) == 1


def test_functions_take_turns():
    order = []
    timings = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4  # one turn to warm up
    assert all(timing.least <= timing.median <= timing.most for timing in timings.values())


def test_what_a_call_overwrites_is_made_good_before_each():
    given, seen = [], []
    interleaved({"a": Overwriting(lambda: seen.append(given.pop()), lambda: given.append(1))}, 2)
    assert seen == [1, 1, 1] and given == []


def test_products_are_those_of_the_papers_networks():
    # 784-100-10: once forward, once for the weights, and once for the hidden layer.
    assert [product.flops for product in floor.products((28, 28, 1), 10, 5, gradient=True)] == [
        2 * 2 * 5 * 784 * 100,
        3 * 2 * 5 * 100 * 10,
    ]
    forward = floor.products((32, 32, 3), 10, 1, gradient=False)
    assert [(product.rows, product.inputs, product.features) for product in forward] == [
        (1024, 27, 64),
        (1024, 576, 64),
        (256, 576, 128),
        (256, 1152, 128),
        (1, 8192, 128),
        (1, 128, 10),
    ]


def test_the_grid_is_counted_whole():
    frame = grid.count().set_index("what")
    assert list(frame.loc["all", ["cells", "runs"]]) == [736, 3680]
    assert frame.loc["all", "programs"] == frame["programs"].iloc[:-1].sum()
    some = pd.DataFrame({"hours": [0.1, 0.3], "runs": [20, 20]})
    total, hours = grid.estimate(some)
    assert (total, hours) == (1840, pytest.approx(0.4 * 46))


@pytest.mark.slower
def test_a_median_makes_no_second_copy_of_the_stack():
    frame = memory.measure([(21, 5000)], rules=("median",))
    assert frame["floor_gb"][0] == pytest.approx(4 * 5000 * (21 + 12) / 1e9)
    assert 0 < frame["temporaries_gb"][0] < 4 * 5000 * 2.5 * 21 / 1e9


@pytest.mark.slower
def test_a_throughput_is_measured_after_the_first_round():
    assert len(rates := grid.throughput("digits", "median", 2, 1)) == 1
    assert rates[0] > 0


@pytest.mark.slower
def test_a_first_step_in_a_fresh_process():
    frame = run.measure_start("digits", 5, rules=["median"])
    assert list(frame["what"]) == [f"first step: median, cache {c}" for c in ("empty", "filled")]
    assert (frame["seconds"] > 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("rules --n 7 --f 1", "give all three"),
        ("rules --repetitions 0", "repetitions must be at least 1, got 0"),
        ("rules --rule kurm", "unknown rules ['kurm']; known: average"),
        ("searches --rule multi_krum", "unknown rules ['multi_krum']; known: krum, median"),
        ("searches --d 7", "give all three"),
        ("searches --n 6 --d 2 --f 1 --rule bulyan", "none of bulyan bears n and f"),
        ("searches --n 6 --d 2 --f 5", "f from 1 to n - 2, got n=6, d=2, f=5"),
        ("step --rule multi_krum", "unknown rules ['multi_krum']; known: krum, median"),
        ("step --steps 0", "steps must be at least 1, got 0"),
        ("step --rule median bulyan", "4f + 3, got n=51, f=24: give another --rule or --f"),
        ("run --rule bulyan --f 24", "4f + 3, got n=51, f=24: give another --rule or --f"),
        ("run --f 51", "f must be from 0 to n - 1 = 50, got 51"),
        ("grid --steps 0", "steps must be at least 1, got 0"),
        ("memory --n 5", "give both"),
        ("memory --n 2 --d 5", "n must be at least 3 and d 1, got n=2, d=5"),
    ],
)
def test_bad_input(arguments, message, tmp_path, capsys):
    assert_refused(command, arguments, message, tmp_path, capsys)


@pytest.mark.slower
@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ("rules --n 5 --d 20 --f 1 --rule median --repetitions 1 --no-peers", 3),
        # bulyan does not bear it
        ("searches --n 6 --d 20 --f 1 --rule median bulyan --repetitions 1 --clock cpu", 5),
        ("step --dataset digits --f 5 --rule median --steps 2 --repetitions 1", 13),
        ("run --dataset digits --f 5 --rule median --steps 2 --repetitions 1 --no-start", 4),
        ("memory --n 7 --d 20 --rule average median", 2),
    ],
)
def test_command_writes_a_table_and_a_picture(arguments, rows, tmp_path, capsys):
    assert command([*arguments.split(), "--results", str(tmp_path)]) == 0
    name = arguments.split()[0]
    assert f"{name}.csv" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / f"{name}.csv")) == rows
    assert (tmp_path / f"{name}.png").exists() and (tmp_path / f"{name}.pdf").exists()


@pytest.mark.slower
def test_the_grid_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(grid, "random_images", lambda name: data.load("digits"))
    every = grid.runs_of

    def of_one_rule(dataset, **changes):
        return [run for run in every(dataset, **changes) if run.cell.rule == "median"]

    monkeypatch.setattr(grid, "runs_of", of_one_rule)
    for module in (grid, cells):
        monkeypatch.setattr(module, "PAPER", {"mnist": SMALL})
    arguments = ["grid", "--quick", "--no-devices", "--steps", "2", "--dataset", "mnist"]
    assert command([*arguments, "--results", str(tmp_path)]) == 0
    assert "hours on this machine" in capsys.readouterr().out
    assert (pd.read_csv(tmp_path / "grid.csv")["seconds"] > 0).all()
