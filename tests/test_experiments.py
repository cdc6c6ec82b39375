"""`python -m experiments` lists what there is, at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.__main__ import WIDTH, command, experiments

ROOT = Path(__file__).parents[1]


def test_every_experiment_is_listed_with_its_question(capsys):
    assert command([]) == 0
    output = capsys.readouterr().out
    for path in (ROOT / "experiments").glob("*/__main__.py"):
        assert f"  {path.parent.name} " in output
    assert all(question.endswith((".", "?")) for _, question in experiments())
    assert max(map(len, output.splitlines())) <= WIDTH


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
