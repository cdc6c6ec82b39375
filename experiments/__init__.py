"""Experiments: each a module, run as `python -m experiments.NAME`, described by its `--help`."""

import os
import signal
import sys
from types import TracebackType

_IN_TERMINAL = os.isatty(2)


def _stop(number: int, _: object) -> None:
    os.write(2, b"\r\x1b[Kstopped\n" if _IN_TERMINAL else b"stopped\n")
    os._exit(128 + number)


# What an installation without the extra `experiments`, or none, lacks.
_NEEDED = "jax jaxlib flax optax numpy jaxtyping pandas pyarrow sklearn matplotlib tyro tqdm rich"


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ends the process with one line where what is missing is something to install."""
    name = str(getattr(error, "name", "")).partition(".")[0]
    if not issubclass(kind, ModuleNotFoundError) or name not in _NEEDED.split():
        sys.__excepthook__(kind, error, trace)
        return
    start = "\r\x1b[K" if _IN_TERMINAL else ""
    line = f"{start}error: {name} is not installed: python -m pip install '.[experiments]'\n"
    os.write(2, line.encode())
    os._exit(2)


# While Python looks for the module of `python -m`. Imports and the start of JAX take seconds, in
# which Ctrl-C would end in a traceback; `experiments.shared.stopping` takes over from there.
if sys.argv[:1] == ["-m"]:
    # What was closed, as `>&-` does, is nowhere, and not the next file that is opened.
    for _name, _mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, _name) is None:
            setattr(sys, _name, open(os.open(os.devnull, os.O_RDWR), _mode))
    # A sign that the terminal or file has none of is a question mark, and not the end.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.excepthook = _told
    for _number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(_number) is not signal.SIG_IGN:
            signal.signal(_number, _stop)
    if _IN_TERMINAL:
        os.write(2, b"starting, which takes some seconds")  # `experiments.shared.run` clears it
