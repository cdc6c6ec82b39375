"""Signals: the first asks to stop, the second ends the process, also while compiled code runs."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from experiments.shared.stopping import Stop, side_by_side, stopping
from tests.support.paths import ROOT


def test_what_stops_in_one_thread_lets_no_other_begin():
    begun = []

    def one(item):
        begun.append(item)
        if item == 3:
            raise KeyboardInterrupt
        return -item

    assert side_by_side(one, range(3), 2) == [0, -1, -2]
    with pytest.raises(KeyboardInterrupt):
        side_by_side(one, range(3, 1000), 1)
    assert begun == [0, 1, 2, 3]


def wait_for(condition, seconds=5.0):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    assert condition()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_only_asks(number, code, capsys):
    before = signal.getsignal(number)
    with stopping() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        wait_for(stop)
        assert stop.exit_code == code
    assert signal.getsignal(number) is before
    assert capsys.readouterr().err == "stopping after these steps; once more stops at once\n"


def test_afterwards_signals_do_what_they_did():
    with stopping():
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_what_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            assert not stop()
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_watched():
    found = []

    def watch():
        with stopping() as stop:
            found.append(stop())

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert found == [False]
    assert Stop().exit_code == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_a_callback_of_the_garbage_collector_comes_again(number, capsys):
    came = []

    def callback(phase, info):
        if not came:
            came.append(phase)
            os.kill(os.getpid(), number)
            time.sleep(5)

    gc.callbacks.append(callback)
    try:
        with pytest.raises(KeyboardInterrupt), stopping(polled=False) as stop:
            gc.collect()
            time.sleep(5)
    finally:
        gc.callbacks.remove(callback)
    assert came == ["start"] and stop.signal == number
    assert capsys.readouterr().err == "stopping; once more stops at once\n"


# One call into compiled code, of minutes, during which Python itself hears of no signal.
BUSY = """
import hashlib
from experiments.shared.stopping import stopping
with stopping() as stop:
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


def test_the_second_signal_ends_a_process_that_is_busy():
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "busy\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith("stopping after")
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 143
    assert error == "stopped at once: what is on disk is whole\n"
