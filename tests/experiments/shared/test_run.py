"""The runner of all command lines: one exit code and one line for each way to end."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest

from experiments.shared.option_checks import RANGES, check_options
from experiments.shared.run import KEPT, run
from simbyz.sweeps import Stopped


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


def test_a_signal_while_it_is_prepared(capsys):
    prepare = lambda _: busy(None, signal.SIGTERM, None)  # noqa: E731
    assert run(Options, [], "it", "What.", prepare, done) == 143
    assert capsys.readouterr().err.endswith("stopped: nothing was begun\n")


@pytest.mark.parametrize("name", RANGES)
def test_every_range_refuses_and_takes(name):
    options = dataclasses.make_dataclass("Options", [(name, float)])
    check_options(options(0.5 if name in ("momentum", "gamma") else 2))
    check_options(options(None))
    with pytest.raises(ValueError, match=f"{name} must be .*, got -1"):
        check_options(options(-1))
    with pytest.raises(ValueError, match=f"{name} must be .*, got nan"):
        check_options(options((float("nan"),)))
