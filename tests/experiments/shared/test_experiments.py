"""`python -m experiments` lists what there is, at once."""

import dataclasses
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, get_args

import pytest

from experiments.__main__ import WIDTH, command, experiments
from experiments.distributed_momentum.__main__ import COMMANDS
from experiments.distributed_momentum.__main__ import command as distributed_momentum
from experiments.shared.options.command_line import KEPT, parse
from experiments.speed.options import Options as SpeedOptions
from tests.support.paths import ROOT

SPEED_COMMANDS = [get_args(kind)[0].__name__.lower() for kind in get_args(SpeedOptions)]


def test_every_experiment_is_listed_with_its_question(capsys):
    assert command([]) == 0
    output = capsys.readouterr().out
    for path in (ROOT / "experiments").glob("*/__main__.py"):
        assert f"  {path.parent.name} " in output
    assert all(question.endswith((".", "?")) for _, question in experiments())
    assert max(map(len, output.splitlines())) <= WIDTH


@pytest.mark.parametrize("arguments", ["--steps 5 grid", "--nesterov off analyse --steps 5"])
def test_a_command_behind_options_is_told_to_stand_first(arguments, capsys):
    with pytest.raises(SystemExit):
        distributed_momentum(arguments.split())
    name = "grid" if "grid" in arguments else "analyse"
    line = f"python -m experiments.distributed_momentum {name} [OPTIONS]"
    assert capsys.readouterr().err.endswith(f"a command stands before its options: {line}\n")


def test_unknown_options(capsys):
    with pytest.raises(SystemExit) as exit_:
        command(["--colour"])
    assert exit_.value.code == 2
    assert "unrecognized arguments: --colour" in capsys.readouterr().err


def test_nothing_heavy_is_imported():
    code = (
        "import runpy, sys; sys.argv = ['experiments']\n"
        "try: runpy.run_module('experiments', run_name='__main__')\n"
        "except SystemExit as exit_: assert exit_.code == 0\n"
        "print(sorted({'jax', 'numpy', 'pandas', 'simbyz', 'tyro'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.endswith("[]\n"), run.stdout + run.stderr


@pytest.mark.parametrize("name", ["tyro", "matplotlib"])
def test_what_is_not_installed_is_named(name, tmp_path):
    (tmp_path / f"{name}.py").write_text(
        f"raise ModuleNotFoundError('No module named {name}', name='{name}')\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "experiments.error_floor", "--results", str(tmp_path / "new")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    line = f"error: {name} is not installed: python -m pip install '.[experiments]'\n"
    assert (run.returncode, run.stderr) == (2, line)


def commands() -> list[tuple[str, str]]:
    """(experiment, word before its options) of all that have a --help of their own."""
    words = {"distributed_momentum": COMMANDS, "speed": SPEED_COMMANDS, "scale": ["sharded"]}
    return [(name, word) for name, _ in experiments() for word in ("", *words.get(name, ()))]


def help_of(name: str, word: str, capsys) -> str:
    package = importlib.util.find_spec(f"experiments.{name}").submodule_search_locations
    module = importlib.import_module(f"experiments.{name}" + ".__main__" * bool(package))
    with pytest.raises(SystemExit) as exit_:
        module.command([*word.split(), "--help"])
    assert exit_.value.code == 0
    return capsys.readouterr().out


# Asked for each in a process of them all, so that what one imports is found with the first.
HELP_OF_ALL = """
import contextlib, importlib, io, json, sys
heavy, found = {"jax", "flax", "optax", "numpy", "pandas", "matplotlib", "sklearn"}, {}
for name, word in json.loads(sys.argv[1]):
    module = importlib.import_module(f"experiments.{name}.__main__")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        module.command([*word.split(), "--help"])
    found[f"{name} {word}"] = sorted(heavy & set(sys.modules))
print(json.dumps(found))
"""


def test_no_help_imports_what_computes():
    asked = list(commands())
    arguments = [sys.executable, "-c", HELP_OF_ALL, json.dumps(asked)]
    run = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=True)
    assert json.loads(run.stdout) == {f"{name} {word}": [] for name, word in asked}


@pytest.mark.parametrize(("name", "word"), commands())
def test_help_is_narrow_and_in_groups(name, word, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    usage, *lines = help_of(name, word, capsys).splitlines()
    assert usage.startswith(f"usage: python -m experiments.{name} {word}".rstrip())
    assert max(map(len, lines)) <= WIDTH
    assert str(ROOT) not in "\n".join(lines)
    # With frames or without, as the output's encoding has it.
    headings = [
        at for at, line in enumerate(lines) if re.fullmatch(r"\W*([a-z]+ )?options\W*", line)
    ]
    sizes = {
        lines[start].strip("─╭╮ "): sum(
            bool(re.match(r"\W*--\w", line)) for line in lines[start:end]
        )
        for start, end in zip(headings, [*headings[1:], None], strict=True)
    }
    assert max(sizes.values(), default=0) <= 10, sizes
    assert (name, word) != ("distributed_momentum", "") or sizes == {
        "options": 0,
        "comparison options": 8,
        "setting options": 7,
        "storage options": 5,
        "pictures options": 1,
        "output options": 1,
    }


def test_help_is_filled_to_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    _, *lines = help_of("defence_matrix", "", capsys).splitlines()
    assert max(map(len, lines)) <= 70


@dataclasses.dataclass(frozen=True)
class First:
    number: int = 1


@dataclasses.dataclass(frozen=True)
class Second:
    """The second."""

    words: tuple[str, ...] = ("a",)
    path: Annotated[Path, KEPT] = ROOT


@dataclasses.dataclass(frozen=True)
class Third:
    flag: bool = False


@dataclasses.dataclass(frozen=True)
class Grouped(First, Second, Third):
    """All three."""


def test_groups_of_options_are_parsed_as_one_dataclass():
    assert parse(Grouped, [], "it", "What.") == Grouped()
    given = "--words b c --flag --number 2".split()
    expected = Grouped(number=2, words=("b", "c"), flag=True)
    assert parse(Grouped, given, "it", "What.") == expected
    assert parse(First, ["--number", "3"], "it", "What.") == First(3)
    assert parse(First | Second, ["second", "--words"], "it", "What.") == Second(words=())


MOMENTUM = "experiments.distributed_momentum"
DRY_RUN = f"{MOMENTUM} grid --dataset mnist --rule median --attack little --f 24 --dry-run"


def test_signs_that_an_encoding_has_none_of(tmp_path):
    """Where standard output is not UTF-8, as that of a file on Windows."""
    folder = tmp_path / "Zürich"
    folder.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", MOMENTUM, "unfinished", "--results", folder],
        capture_output=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert run.returncode == 0 and not run.stderr
    assert run.stdout.decode("ascii").strip().endswith("Z?rich")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nowhere(closed, tmp_path):
    """As some schedulers start a program: no traceback, and no file is opened in their place."""
    run = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m {DRY_RUN} --results {tmp_path} {closed}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert run.returncode == 0 and not run.stderr
    assert bool(run.stdout) == (">&-" not in closed.replace("2>&-", ""))
