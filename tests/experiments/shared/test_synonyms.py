"""Rules and attacks by the names that they have elsewhere."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from experiments.shared.options.command_line import parse
from experiments.shared.options.synonyms import translated


@dataclasses.dataclass(frozen=True)
class Asked:
    rule: Annotated[tuple[Literal["trmean", "krum"], ...], tyro.conf.arg(help="")] = ()
    attack: Literal["little", "none"] = "none"
    results: Path = Path()


@pytest.mark.slower
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--rule", "trimmed_mean", "krum"], Asked(rule=("trmean", "krum"))),
        (["--attack=a_little_is_enough"], Asked(attack="little")),
        (["--attack", "alie", "--rule", "trmean"], Asked(attack="little", rule=("trmean",))),
        (["--results", "alie"], Asked(results=Path("alie"))),
    ],
)
def test_options_know_them(given, expected):
    assert parse(Asked, given, "asked", "") == expected


def test_what_has_none_is_left_to_the_parser():
    given = ["--rule", "median", "little", "--attack", "nan", "alie=1"]
    assert translated(given, Asked) == given
