"""Experiments: each a module, run as `python -m experiments.NAME`, described by its `--help`."""

import os
import signal
import sys

_IN_TERMINAL = os.isatty(2)


def _stop(number: int, _: object) -> None:
    os.write(2, b"\r\x1b[Kstopped\n" if _IN_TERMINAL else b"stopped\n")
    os._exit(128 + number)


# While Python looks for the module of `python -m`. Imports and the start of JAX take seconds, in
# which Ctrl-C would end in a traceback; `experiments.shared.stopping` takes over from there.
if sys.argv[:1] == ["-m"]:
    for _number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(_number) is not signal.SIG_IGN:
            signal.signal(_number, _stop)
    if _IN_TERMINAL:
        os.write(2, b"starting, which takes some seconds")  # `experiments.shared.run` clears it
