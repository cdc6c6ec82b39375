"""`unfinished`: what stopped runs left under way, and whether they can go on."""

import numpy as np
import pytest

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.commands.grid import select
from experiments.distributed_momentum.commands.unfinished import unfinished
from experiments.distributed_momentum.running.simulate import code
from simbyz.records.provenance import versions
from simbyz.sweeps.checkpoints import Checkpoint, Header, save
from tests.support import fake_runs
from tests.support.fake_runs import FEW

RUNS = select(FEW)


@pytest.fixture
def folder(tmp_path):
    """Four runs under way, at two steps; the first is finished already."""
    program = {"code_digest": code(), "jax_version": versions()["jax_version"]}
    header = Header(tuple(run.file for run in RUNS[:4]), 50, 300, 1.0, program)
    arrays = [np.zeros((4, 1000))]
    first = save(tmp_path / "checkpoints", Checkpoint(header, arrays))
    save(tmp_path / "checkpoints", Checkpoint(header._replace(step=100), arrays), first)
    fake_runs.write(tmp_path, RUNS[0], 0.5)
    return tmp_path


def test_what_is_under_way(folder, capsys):
    (one,) = unfinished(folder)
    assert one.runs == [run.file for run in RUNS[1:4]]
    assert (one.header.step, one.obstacle) == (100, "")
    assert command(["unfinished", "--results", str(folder)]) == 0
    output = capsys.readouterr().out
    first, *names = output.splitlines()
    assert first.startswith("step 100 of 300, written 20") and first.endswith(" MB, goes on")
    assert [name.strip() + ".parquet" for name in names] == one.runs
    assert max(map(len, output.splitlines())) <= 100


def test_a_damaged_one_leaves_the_one_before(folder):
    newest = max((folder / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    (one,) = unfinished(folder)
    assert (one.header.step, one.obstacle) == (50, "")
    other = min((folder / "checkpoints").iterdir())
    other.write_bytes(other.read_bytes()[:-1])
    (one,) = unfinished(folder)
    assert "damaged" in one.obstacle


def test_of_other_code(folder, monkeypatch, capsys):
    module = "experiments.distributed_momentum.commands.unfinished.code"
    monkeypatch.setattr(module, lambda: "0123456789")
    (one,) = unfinished(folder)
    assert one.obstacle == f"code_digest was {code()}, is 0123456789 now"
    command(["unfinished", "--results", str(folder)])
    assert "can't go on: code_digest was" in capsys.readouterr().out


def test_nothing_under_way(tmp_path, capsys):
    assert command(["unfinished", "--results", str(tmp_path)]) == 0
    assert f"nothing is under way in {tmp_path}" in capsys.readouterr().out
    assert command(["unfinished", "--results", str(tmp_path / "absent")]) == 2
    error = capsys.readouterr().err
    assert "there is no results folder" in error and error.count("\n") == 1
