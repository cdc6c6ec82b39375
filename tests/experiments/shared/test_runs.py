"""Runs as files: combinations of options, names, and what is not there yet."""

import dataclasses

from experiments.shared.runs import Record, combinations, file_of, grouped, unfinished
from simbyz import records


@dataclasses.dataclass(frozen=True)
class Run:
    steps: int
    rule: str
    f: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Options:
    rule: tuple[str, ...] = ("median", "krum", "median")
    f: tuple[int, ...] = (1, 2)
    steps: int = 10
    seeds: tuple[int, ...] = (3, 4)
    unread: str = ""


def test_the_first_axis_changes_slowest_and_the_seed_fastest():
    assert combinations(Run, Options(), ("rule", "f")) == [
        Run(10, rule, f, seed) for rule in ("median", "krum") for f in (1, 2) for seed in (3, 4)
    ]


def test_what_is_grouped_keeps_its_order():
    assert grouped([3, 1, 4, 1, 5, 9, 2, 6], lambda one: one % 2) == [[3, 1, 1, 5, 9], [4, 2, 6]]
    assert grouped([], lambda one: one) == []


def test_what_is_written_is_finished(tmp_path):
    some = [Record("name", {"seed": seed, "rule": "krum"}) for seed in (1, 2)]
    assert unfinished(tmp_path, some) == some
    records.write_run(tmp_path, *some[0], {"step": [0]}, {})
    assert (tmp_path / some[0].file).is_file() and some[0].file == file_of(some[0])
    assert unfinished(tmp_path, some) == some[1:]
