"""The first Ctrl-C, or SIGTERM, stops where that loses least; the second at once."""

import contextlib
import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

S = TypeVar("S")
T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LATER = 0.01  # seconds from an interrupt that was lost to the next
UNREAD = 141  # 128 + SIGPIPE, as of other programs


def side_by_side(one: Callable[[S], T], items: Iterable[S], most: int | None = None) -> list[T]:
    """`one` of each item, in their order: in as many threads as there are cores, or `most`. Once it
    has raised anything, such as a stop, no other is begun.
    """
    raised = threading.Event()

    def unless_raised(item: S) -> T:
        if raised.is_set():
            raise CancelledError
        try:
            return one(item)
        except BaseException:
            raised.set()
            raise

    with ThreadPoolExecutor(min(most or sys.maxsize, os.cpu_count() or 1)) as pool:
        return list(pool.map(unless_raised, items))


class Stop:
    """Whether somebody asked to stop: called, it says so."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.polled = True  # whether it is looked at now and then; else a signal interrupts
        self._asked = threading.Event()

    def __call__(self) -> bool:
        return self._asked.is_set()

    def ask(self, number: int) -> None:
        """Note the signal that asks."""
        self.signal = number
        self._asked.set()

    def within(self, seconds: float) -> bool:
        """Whether somebody asks within so many seconds, which this waits for."""
        return self._asked.wait(seconds)

    def interrupt(self) -> None:
        """From here on nobody looks at it: a signal interrupts, also one that came before.

        Raises:
          KeyboardInterrupt: there was one.
        """
        self.polled = False
        if self():
            raise KeyboardInterrupt

    @property
    def exit_code(self) -> int:
        """As a shell gives it: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (signal.SIGINT if self.signal is None else self.signal)


@contextlib.contextmanager
def stopping(*, polled: bool = True, stop: Stop | None = None) -> Iterator[Stop]:
    """Watches for signals; before and after, they do what they did.

    polled: the block looks at the `Stop` now and then, until it calls `Stop.interrupt`; if not, the
      first signal raises KeyboardInterrupt in it.
    stop: what is told; a new one if None.

    A thread watches, as Python itself hears of a signal only when compiled code returns. Outside
    the main thread, where no signal can be handled, nothing is watched.
    """
    stop = Stop() if stop is None else stop
    stop.polled = polled
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        while True:
            for number in reader.recv(64):
                if number == 0:
                    return
                if number in heard:
                    _heard(stop, number)

    def interrupt(*_: object) -> None:
        if not stop.polled:
            # The thread notes it first: who handles the exception may ask the `Stop`.
            until = time.monotonic() + 1
            while stop.signal is None and time.monotonic() < until:
                time.sleep(0.001)
            raise KeyboardInterrupt

    # A process that was told to ignore one, as nohup does, goes on ignoring it.
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    old = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, daemon=True, name="stopping")
    thread.start()
    try:
        with _again_where_it_is_lost(stop, interrupt):
            yield stop
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.send(b"\0")
        thread.join()
        reader.close()
        writer.close()


@contextlib.contextmanager
def _again_where_it_is_lost(stop: Stop, interrupt: Callable[..., None]) -> Iterator[None]:
    """Calls `interrupt` a moment later once more where nobody can raise what it raised: Python
    ignores, and prints, what is raised in a callback of the garbage collector, of which JAX has
    one, and in a finaliser.
    """
    hook, alarm = sys.unraisablehook, getattr(signal, "SIGALRM", None)
    if alarm is None:  # on Windows
        yield
        return
    before = signal.getsignal(alarm)

    def told(lost: "sys.UnraisableHookArgs") -> None:
        if not (stop() and issubclass(lost.exc_type, KeyboardInterrupt)):
            hook(lost)
            return
        signal.signal(alarm, interrupt)
        signal.setitimer(signal.ITIMER_REAL, LATER)

    sys.unraisablehook = told
    try:
        yield
    finally:
        sys.unraisablehook = hook
        if signal.getsignal(alarm) is interrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(alarm, before)


def _heard(stop: Stop, number: int) -> None:
    if stop.signal is None:
        when = " after these steps" if stop.polled else ""
        stop.ask(number)
        tqdm.write(f"stopping{when}; once more stops at once", file=sys.stderr)
        return
    with contextlib.suppress(Exception):
        tqdm.write("stopped at once: what is on disk is whole", file=sys.stderr)
        sys.stderr.flush()
    os._exit(128 + number)


def to_its_reader(command: Callable[[], int]) -> int:
    """The exit code of a command all of whose output was read, or `UNREAD`, as after `| head`; 1,
    with a line, where there is no room for what it prints.
    """
    try:
        try:
            return command()
        finally:  # also after --help, which ends in a SystemExit
            sys.stdout.flush()
    except BrokenPipeError:
        return unread()
    except OSError as error:
        if not printing_failed(error):
            raise
        unread()
        print(f"error: standard output can't be written: {error.strerror}", file=sys.stderr)
        return 1


def printing_failed(error: BaseException) -> bool:
    """Whether an error is of a full disk, or one that fails, that output was sent to: those of
    files that are written here name them.
    """
    kinds = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return isinstance(error, OSError) and error.errno in kinds and error.filename is None


def unread() -> int:
    """Let what is still to be printed go nowhere, also when Python ends; the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNREAD
