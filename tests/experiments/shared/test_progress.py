"""What a command says while it runs: a bar in a terminal, a plain line a minute elsewhere."""

import io
import sys

from experiments.shared.progress import Log, bar


def test_a_log_has_a_line_at_the_start_and_one_a_minute(monkeypatch):
    log, now = io.StringIO(), [0.0]
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr("experiments.shared.progress.time.monotonic", lambda: now[0])
    with bar(200, "step") as move:
        for moment, done, text in [
            (0, 0, "found on disk"),  # nothing: no news
            (0, 0, "compiling krum"),
            (59, 50, "krum, accuracy 0.500"),
            (61, 20, "krum, accuracy 0.600"),
            (130, 130, "krum, accuracy 0.700"),  # the end: nothing is left to wait for
        ]:
            now[0] = moment
            move(done, text)
    assert log.getvalue().splitlines() == [
        "  0.0 %, 0 s passed (compiling krum)",
        " 35.0 %, 61 s passed (krum, accuracy 0.600)",
    ]


def test_a_terminal_says_what_goes_on_before_anything_is_done(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with bar(200, "step") as move:
        move(0, "compiling krum")
        assert "compiling krum" in terminal.getvalue()
    assert "\n" not in terminal.getvalue().rstrip("\n")


def test_nothing_is_said_sooner():
    file = io.StringIO()
    log = Log(file, every=3600)
    for _ in range(3):
        log.say("a line")
    assert file.getvalue() == "a line\n"
