"""The folder of a question's answers: the default's is the results' own, and no two share one."""

import dataclasses
import itertools
from pathlib import Path

import pytest

from experiments.distributed_momentum.__main__ import command
from experiments.shared.options.question import LONGEST, folder_of


@dataclasses.dataclass(frozen=True)
class Asked:
    rule: tuple[str, ...] = ("median", "krum")
    rate: float = 0.1
    level: str = "iid"
    f: int | None = None


@dataclasses.dataclass(frozen=True)
class Options(Asked):
    results: Path = Path()
    format: str = "table"


def name_of(folder, **values):
    found = folder_of(Options(results=folder, **values), Asked)
    assert found.is_dir()
    return str(found.relative_to(folder))


def test_names(tmp_path):
    assert name_of(tmp_path) == name_of(tmp_path, format="csv") == "."
    assert name_of(tmp_path, rule=("krum",), f=2) == "rule_krum-f_2"
    assert name_of(tmp_path, level="gamma:0.5/../..") == "level_gamma_0.5_.._.."


def test_no_two_questions_share_a_folder(tmp_path):
    rules = [(), ("krum",), ("krum_median",)]
    rules += [("krum", "median"), ("median", "krum"), ("a" * 99,), ("a" * 98 + "b",)]
    rates = [0.1, 0.1 + 1e-12, 1e-3]
    asked = [{"rule": rule, "rate": rate} for rule, rate in itertools.product(rules, rates)]
    names = [name_of(tmp_path, **values) for values in asked]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) == LONGEST


@pytest.mark.slower
def test_a_smaller_question_leaves_the_answer_to_the_larger(tmp_path):
    arguments = "--n 5 --f 1 --steps 4 --seeds 1 --attack none little".split()
    both, one = ["--rule", "median", "trmean"], ["--rule", "median"]
    for rules in (both, one):
        assert command([*arguments, *rules, "--results", str(tmp_path)]) == 0
        if rules is both:
            before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.suffix for path in before} >= {".png", ".pdf", ".csv"}
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(list(tmp_path.rglob("comparison.csv"))) == 2


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "f_2").write_text("a file")
    with pytest.raises(OSError, match="f_2"):
        name_of(tmp_path, f=2)
