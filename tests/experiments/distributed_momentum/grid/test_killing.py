"""A grid whose process is killed again and again ends as one that never was."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from simbyz.records import parquet as records
from tests.support import small_grid
from tests.support.paths import ROOT

KILLS = 4


class Server:
    """`small_grid` as a program: starts the grid in children, which compile each program once."""

    def __init__(self, errors, compiled):
        self.process = subprocess.Popen(
            [sys.executable, small_grid.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "JAX_COMPILATION_CACHE_DIR": str(compiled),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
        )

    def start(self, folder, most="") -> int:
        """The number of a process that runs the grid into this folder, with files of at most so
        many bytes.
        """
        self.process.stdin.write(f"{folder} {most}\n")
        self.process.stdin.flush()
        return self._told("started")

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        return self._told("ended")

    def _told(self, word: str) -> int:
        first, number = self.process.stdout.readline().split()
        assert first == word
        return int(number)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("errors") / "errors"
    with path.open("a") as errors:
        server = Server(errors, tmp_path_factory.mktemp("compiled"))
        server.errors = path
        yield server
        server.close()


def contents(folder: Path) -> dict:
    return {path.name: small_grid.content(path) for path in sorted(folder.glob("*.parquet"))}


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """The files of a process that nobody killed, those of one before it that compiles, and the
    seconds that it takes once all is compiled.
    """
    found = []
    for name in ("compiles", "compiled"):
        folder = tmp_path_factory.mktemp(name)
        server.start(folder)
        began = time.monotonic()
        assert server.ended() == 0
        seconds = time.monotonic() - began
        found.append(contents(folder))
        assert len(found[-1]) == small_grid.RUNS
        assert not (folder / "checkpoints").exists()
    return found[1], found[0], seconds


@pytest.mark.thorough
def test_killed_at_random_moments(server, whole, tmp_path):
    """Every folder is run to its end; killed are processes that were at work, and after each kill
    what is there is whole and as it should be.
    """
    expected, _, seconds = whole
    generator = np.random.default_rng()
    killed, folders, resumed = 0, 0, 0
    while killed < KILLS or resumed:
        folder = tmp_path / str(folders)
        child = server.start(folder)
        if killed < KILLS:
            time.sleep(generator.uniform(0, 1.1 * seconds))
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.kill(child, signal.SIGKILL)
        code = server.ended()
        found = contents(folder)
        assert found.items() <= expected.items()
        if code == -signal.SIGKILL:
            killed += 1
            resumed += 1
            continue
        assert code == 0
        assert found == expected
        assert len(records.read_runs(folder)) == small_grid.RUNS
        # What killed writers left is old enough to go only later; nothing else is left.
        left = {path.name for path in folder.iterdir()} - expected.keys()
        assert all(records.TEMPORARY.fullmatch(name) for name in left), left
        folders, resumed = folders + 1, 0
    assert killed == KILLS and folders >= 1


@pytest.mark.thorough
def test_the_same_command_twice_gives_the_same_bytes(whole):
    assert whole[0] == whole[1]


@pytest.mark.slower
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_says_how_to_go_on(server, whole, tmp_path, number):
    expected, *_ = whole
    child = server.start(tmp_path)
    until = time.monotonic() + 60
    while not list(tmp_path.rglob("*.checkpoint")) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child, number)
    assert server.ended() == 128 + number
    assert "the same command goes on from there" in server.errors.read_text().splitlines()[-1]
    assert contents(tmp_path).items() < expected.items()
    assert len(list(tmp_path.rglob("*.checkpoint"))) >= 1
    server.start(tmp_path)
    assert server.ended() == 0
    assert contents(tmp_path) == expected


@pytest.mark.slower
@pytest.mark.parametrize("most", [3000, 40_000])
def test_a_full_disk(server, whole, tmp_path, most):
    """No room for a run, or for checkpoints alone: one line each, and nothing is lost."""
    expected, *_ = whole
    server.errors.write_text("")  # the bytes that a file may have are those of this one too
    server.start(tmp_path, most)
    code = server.ended()
    lines = server.errors.read_text().splitlines()
    assert server.errors.stat().st_size < most
    told = "can't be written: File too large; going on without"
    assert any(line.startswith("warning: checkpoint ") and line.endswith(told) for line in lines)
    failed = [line for line in lines if line.startswith("error: run ")]
    assert (code, len(failed)) == ((1, 1) if most == 3000 else (0, 0))
    assert contents(tmp_path).items() <= expected.items()
    assert not list(tmp_path.rglob("*.checkpoint")) and not list(tmp_path.rglob(".*.tmp"))
    server.start(tmp_path)
    assert server.ended() == 0
    assert contents(tmp_path) == expected
