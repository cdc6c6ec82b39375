"""The runner of all command lines: one exit code and one line for each way to end."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.shared import devices
from experiments.shared.options.checks import RANGES, check_options
from experiments.shared.progress import drawing
from experiments.shared.run import KEPT, run, run_with
from simbyz.sweeps import Stopped
from tests.support.paths import ROOT


@dataclasses.dataclass(frozen=True)
class Options:
    steps: int = 1
    results: Path = Path("here")


def raising(error):
    def function(*_):
        raise error

    return function


def done(*_):
    return None


def polling(options, prepared, stop):
    os.kill(os.getpid(), prepared)
    assert stop.within(5)
    raise Stopped


def busy(options, prepared, stop):
    os.kill(os.getpid(), prepared)
    time.sleep(5)
    pytest.fail("not interrupted")


@pytest.mark.parametrize(
    ("prepare", "execute", "code", "line"),
    [
        (done, done, 0, ""),
        (done, lambda *_: 1, 1, ""),
        (raising(ValueError("a bad value")), done, 2, "error: a bad value\n"),
        (raising(OSError("no folder")), done, 2, "error: no folder\n"),
        (
            raising(IsADirectoryError(21, "Is a directory", "a")),
            done,
            2,
            "error: a: Is a directory\n",
        ),
        (done, raising(OSError("disk full")), 1, "error: disk full\n"),
        (done, raising(KeyboardInterrupt), 130, f"stopped: {KEPT.format(results='here')}\n"),
        (done, raising(Stopped("jobs go on")), 130, "stopped: jobs go on\n"),
        (raising(KeyboardInterrupt), done, 130, "stopped: nothing was begun\n"),
    ],
)
def test_how_it_ends(prepare, execute, code, line, capsys):
    ended = []
    leave = lambda code: ended.append(code) or code  # noqa: E731
    assert run(Options, [], "it", "What.", prepare, execute, stopped=KEPT, leave=leave) == code
    assert capsys.readouterr().err == line
    assert ended == ([code] if line and prepare is done else [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(("execute", "polled"), [(polling, True), (busy, False)])
def test_signals(number, code, execute, polled, capsys):
    asked = run(Options, [], "it", "What.", lambda _: number, execute, polled=polled)
    assert asked == code
    assert capsys.readouterr().err.endswith("stopped: nothing was written\n")


def drawn(options, prepared, stop):
    drawing(stop)
    busy(options, prepared, stop)


def asked_before_it_draws(options, prepared, stop):
    os.kill(os.getpid(), prepared)
    assert stop.within(5)
    drawing(stop)
    pytest.fail("not interrupted")


def asked_too_late(options, prepared, stop):
    os.kill(os.getpid(), prepared)
    assert stop.within(5)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("execute", [drawn, asked_before_it_draws, asked_too_late])
def test_a_signal_after_the_last_look_at_it(number, code, execute, capsys):
    assert run(Options, [], "it", "What.", lambda _: number, execute, stopped=KEPT) == code
    said = capsys.readouterr().err
    assert said.endswith(f"stopped: {KEPT.format(results='here')}\n")
    assert ("after these steps" in said) == (execute is not drawn)


CALLED_BACK = """
import dataclasses, sys
import jax, jax.numpy as jnp
from experiments.shared.run import run, start

@dataclasses.dataclass
class Options:
    steps: int = 1

def mine(rows):
    raise KeyError("no such row")

def execute(*_):
    shape = jax.ShapeDtypeStruct((3,), "float32")
    called = jax.jit(lambda rows: jax.pure_callback(mine, shape, rows))
    called(jnp.ones(3)).block_until_ready()

start(lambda: run(Options, [], "it", "What.", lambda _: None, execute))
"""


def test_what_a_function_raises_that_is_called_back():
    done = subprocess.run(
        [sys.executable, "-c", CALLED_BACK],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == "error: KeyError: 'no such row' (\"<string>\", line 11, in mine)"


def test_a_signal_while_it_is_prepared(capsys):
    prepare = lambda _: busy(None, signal.SIGTERM, None)  # noqa: E731
    assert run(Options, [], "it", "What.", prepare, done) == 143
    assert capsys.readouterr().err.endswith("stopped: nothing was begun\n")


def swallowing(number):
    """As a callback of compiled code does: the interrupt ends there."""
    with contextlib.suppress(KeyboardInterrupt):
        busy(None, number, None)


def raise_instead(error, number):
    """As a decoder does: the interrupt becomes an error of its own."""
    try:
        busy(None, number, None)
    except KeyboardInterrupt as interrupt:
        raise error("decoding failed") from interrupt


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("error", [None, RuntimeError, OSError, ValueError])
def test_an_interrupt_that_others_make_something_else_of(number, code, error, capsys):
    def work(*_):
        if error is None:
            return swallowing(number)
        raise_instead(error, number)

    assert run(Options, [], "it", "What.", work, done) == code
    assert capsys.readouterr().err.endswith("stopped: nothing was begun\n")
    if error is not None:
        assert run(Options, [], "it", "What.", done, work, polled=False) == code
        assert capsys.readouterr().err.endswith("stopped: nothing was written\n")


# Stands for a dataclass, whose methods are such a text, that is made while a module is imported.
IN_A_TEXT = """
import dataclasses, os, signal, sys, time
from experiments.shared.run import run, start

@dataclasses.dataclass
class Options:
    steps: int = 1

def prepare(_):
    exec("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)")

sys.argv = ["it"]
start(lambda: run(Options, [], "it", "What.", prepare, None), lambda: None)
"""


def test_a_signal_within_a_text_that_is_executed(tmp_path):
    (tmp_path / "it.py").write_text(IN_A_TEXT)
    done = subprocess.run(
        [sys.executable, "-m", "it"],  # under which alone CPython goes by its note
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 143, done.stderr
    assert done.stderr.endswith("stopped: nothing was begun\n")


def test_an_error_of_its_own_is_no_stop():
    for prepare, execute in ((raising(RuntimeError("a bug")), done), (done, raising(KeyError()))):
        with pytest.raises((RuntimeError, KeyError)):
            run(Options, [], "it", "What.", prepare, execute, polled=False)


# Stands for what an experiment imports, of which the first to come is interrupted.
SLOW = """
import os, signal, time
os.kill(os.getpid(), signal.{signal})
time.sleep(5)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_program_is_imported(number, code, tmp_path):
    for name in ("jax", "numpy", "pandas", "tyro"):
        (tmp_path / f"{name}.py").write_text(SLOW.format(signal=number.name))
    ended = subprocess.run(
        [sys.executable, "-m", "experiments.distributed_momentum"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (code, "stopped\n")


@pytest.mark.parametrize("name", RANGES)
def test_every_range_refuses_and_takes(name):
    options = dataclasses.make_dataclass("Options", [(name, float)])
    check_options(options(0.5 if name in ("momentum", "gamma") else 2))
    check_options(options(None))
    with pytest.raises(ValueError, match=f"{name} must be .*, got -1"):
        check_options(options(-1))
    with pytest.raises(ValueError, match=f"{name} must be .*, got nan"):
        check_options(options((float("nan"),)))


def test_momentum_is_below_1_as_float32_has_it():
    options = dataclasses.make_dataclass("Options", [("momentum", float)])
    largest = float(np.nextafter(np.float32(1), np.float32(0)))
    check_options(options(largest))
    assert np.float32(1 - 1e-8) == 1
    with pytest.raises(ValueError, match="momentum must be .* in float32, got 0.99999999"):
        check_options(options(1 - 1e-8))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("experiments", 141),
        ("experiments.distributed_momentum --help", 141),
        ("experiments.distributed_momentum grid --dry-run", 1),  # rich's own answer
    ],
)
def test_a_reader_that_goes_away_ends_it_without_a_word(arguments, code):
    """As `| head` does; the pipe is closed before anything is written."""
    command = [sys.executable, "-m", *arguments.split()]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    started.stdout.close()
    assert (started.stderr.read(), started.wait(120)) == (b"", code)
    started.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", ["experiments", "experiments.misjudged_f --help"])
def test_output_that_has_no_room_is_told_in_a_line(arguments):
    command = [sys.executable, "-m", *arguments.split()]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    line = "error: standard output can't be written: No space left on device\n"
    assert (ended.stderr, ended.returncode) == (line, 1)


def test_a_terminal_is_told_of_checks_and_reading_and_cleared_again(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run_with(Options(), lambda options: print("at it", file=sys.stderr), lambda *_: None)
    assert capsys.readouterr().err == "\r\x1b[Kchecking, and reading dataat it\n\r\x1b[K"


def test_devices_are_asked_for_before_the_first_computation_or_stay_as_they_are(monkeypatch):
    there = jax.device_count()
    monkeypatch.setattr(devices, "cores", lambda: there)
    devices.prepare_devices(keep_programs=False)  # as when a cell is run again
    monkeypatch.setattr(devices, "cores", lambda: there + 1)
    told = f"JAX has begun with {there} of what may be {there + 1} devices: restart Python"
    with pytest.warns(RuntimeWarning, match=told):
        devices.prepare_devices(keep_programs=False)
    assert jax.device_count() == there
