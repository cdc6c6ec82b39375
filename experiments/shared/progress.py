"""How far a grid is: a bar in a terminal, a plain line now and then in a log."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from experiments.shared.stopping import Stop
from simbyz import records
from simbyz.sweeps import Stopped

ON_DISK = "found on disk"  # what is told of work that another start did; of none, nothing

Tell = Callable[[int, str], None]  # told the work done since the last call, and what goes on
Ask = Callable[[], bool]  # asked now and then whether to stop

FIRST = "compiling"  # what every program begins with
SOME = 0.01  # of the work: before, most of the time passed is that of compiling


def never() -> bool:
    """Nobody asks to stop."""
    return False


@contextlib.contextmanager
def bar(total: float, unit: str, stop: Ask = never) -> Iterator[Callable[[float, str], None]]:
    """A bar in a terminal, a plain line a minute elsewhere, as a function (work done since, text)
    that moves it on.

    stop: asked at every move; the function raises `Stopped` where it says so.
    """
    with tqdm(total=total, unit=unit, disable=None, smoothing=0.05) as shown:
        shown.set_postfix_str(FIRST)
        log = Log(sys.stderr) if shown.disable else None
        began, so_far = time.monotonic(), 0.0

        def move(done: float, text: str) -> None:
            nonlocal so_far
            if not done and text.endswith(ON_DISK):
                return
            so_far += done
            shown.set_postfix_str(text)
            shown.update(done)
            if log is not None and so_far < total:
                passed = duration(time.monotonic() - began)
                log.say(f"{100 * so_far / total:5.1f} %, {passed} passed ({text})")
            if stop():
                raise Stopped

        yield move


def tell(text: str) -> None:
    """What a command is about to do that takes some seconds, a line of its own."""
    print(text, file=sys.stderr, flush=True)


def drawing(stop: Ask) -> None:
    """Tells that a command draws its pictures, which a signal interrupts.

    Raises:
      KeyboardInterrupt: one came before.
    """
    tell("drawing pictures")
    if isinstance(stop, Stop):
        stop.interrupt()


class Log:
    """Lines to a file, no sooner than so many seconds after the one before."""

    def __init__(self, file: TextIO, every: float = 60.0):
        self._file, self._every, self._said = file, every, -float("inf")

    def say(self, line: str) -> None:
        now = time.monotonic()
        if now - self._said >= self._every:
            self._said = now
            print(line, file=self._file, flush=True)


class Progress:
    """Work done of all work, and the time left at the pace so far.

    Work is counted in estimated seconds, so that the time left is right though the steps of one
    rule take longer than those of another. Runs found on disk count as done and not for the pace.

    Args:
      total: of the whole grid, those on disk included.
      done: of the runs on disk.
      file: where to write; standard error if None.
      every: seconds between the lines in a log.
    """

    def __init__(
        self, total: float, done: float = 0.0, file: TextIO | None = None, every: float = 60.0
    ):
        self._file = sys.stderr if file is None else file
        self._total, self._done, self._start = total, done, done
        self._began = time.monotonic()
        self._log = Log(self._file, every)
        self._bar = tqdm(
            total=total,
            initial=done,
            file=self._file,
            disable=None,  # where it is no terminal
            bar_format="{percentage:5.1f} % |{bar}| {elapsed} passed, {remaining} left{postfix}",
            smoothing=0.02,
        )
        self._bar.set_postfix_str(FIRST)

    def add(self, work: float, text: str) -> None:
        """More work is done; `text` says on what."""
        if not work and text.endswith(ON_DISK):
            return
        self._done += work
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(work)
        if self._bar.disable:
            self._log.say(self.line(time.monotonic(), text))

    def line(self, now: float, text: str) -> str:
        """One plain line: share done, time passed, time left."""
        share = self._done / self._total if self._total else 1.0
        passed, fresh = now - self._began, self._done - self._start
        remaining = "time left unknown"
        if fresh > SOME * (self._total - self._start):
            left = passed / fresh * max(self._total - self._done, 0)
            remaining = f"about {duration(left)} left"
        return f"{100 * share:5.1f} %, {duration(passed)} passed, {remaining} ({text})"

    def close(self) -> None:
        self._bar.close()


def run_all(simulate: Callable, runs: Sequence[Any], dataset: Any, folder: Path, stop: Ask) -> None:
    """Compute what a folder lacks of these runs, beside a bar that counts their steps."""
    records.clean(folder)
    with contextlib.closing(Progress(total=sum(run.steps for run in runs))) as progress:
        simulate(runs, dataset, folder, progress.add, stop=stop)


def duration(seconds: float) -> str:
    """Rounded, in the units that a reader wants."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
