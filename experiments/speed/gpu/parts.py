"""The parts of the check, one after the other within a time, each in a process of its own.

A part that fails, or hangs in a compiler, then takes neither the others with it nor their time, and
leaves the device's memory behind.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from experiments.speed.gpu import (
    ceilings,
    convolution,
    journal,
    projection,
    right,
    timed,
    training,
    widths,
)
from experiments.speed.gpu.journal import Journal, Result
from experiments.speed.gpu.sizes import FULL, SMALL, Sizes
from experiments.speed.timing import child_environment
from simbyz.records.provenance import versions

# Each part, and its share of the time; what one leaves goes to those behind it.
PARTS: dict[str, tuple[float, Callable[[Sizes, float, Sequence[Result]], Iterator[Result]]]] = {
    "ceilings": (0.07, lambda sizes, until, known: ceilings.ceilings(sizes)),
    "right": (0.22, lambda sizes, until, known: right.check(sizes, until)),
    "training": (0.14, lambda sizes, until, known: training.check(sizes, until)),
    "timed": (0.19, timed.measure),
    "convolution": (0.22, convolution.measure),
    "widths": (0.14, lambda sizes, until, known: widths.measure(sizes, until)),
    "projection": (0.02, lambda sizes, until, known: projection.project(sizes, known)),
}
# Seconds that a process takes to start, about, and those that a part may run over its time, at the
# cost of the parts behind it, before it is ended.
START, OVER = 8.0, 30.0


def one(part: str, folder: Path, minutes: float, small: bool) -> int:
    """Runs a part in this process; 1 if it failed, which is written down."""
    writer = Journal(folder, {"part": part, "small": small})
    began = time.monotonic()
    work = PARTS[part][1]
    try:
        writer.write({"what": "begins"} | machine())
        known = [r for r in journal.read(folder) if r.get("small") == small]
        for result in work(SMALL if small else FULL, began + 60 * minutes, known):
            writer.write(result)
    except Exception as error:  # whatever it is, the next part has its turn
        writer.write({"what": "failed", "error_message": f"{type(error).__name__}: {error}"[:1000]})
        return 1
    writer.write({"what": "ends", "seconds": time.monotonic() - began})
    return 0


def several(parts: Sequence[str], folder: Path, minutes: float, small: bool) -> int:
    """Runs each in a process of its own; 1 if any failed or was ended."""
    until, failed = time.monotonic() + 60 * minutes, 0
    for number, part in enumerate(parts):
        if part == "projection":  # it asks nothing of the device
            failed |= one(part, folder, 0, small)
            continue
        shares = [PARTS[part][0] for part in parts[number:]]
        left = until - time.monotonic()
        seconds = left * shares[0] / sum(shares)
        most = min(left, seconds + OVER)
        status = _status(_command(part, folder, seconds - START, small), most)
        if status != 0:
            said = f"killed after {most:.0f} s" if status is None else f"exit status {status}"
            writer = Journal(folder, {"part": part, "small": small})
            writer.write({"what": "ended", "error_message": said})
            failed = 1
    return failed


def _command(part: str, folder: Path, seconds: float, small: bool) -> list[str]:
    command = [sys.executable, "-m", "experiments.speed", "gpu", "--parts", part]
    command += ["--minutes", f"{max(seconds, 1) / 60:.3f}", "--results", str(folder)]
    return command + ["--small"] * small


def _status(command: Sequence[str], seconds: float) -> int | None:
    """A command's exit status; None if it was killed, after so many seconds."""
    child = subprocess.Popen(command, env=child_environment())
    try:
        return child.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return None


def machine() -> Result:
    """The device, its driver where that tells, and the versions of what computes."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "platform_version": " ".join(device.client.platform_version.split()),
        "driver": _driver(),
        "cpus": os.cpu_count(),
        **{name: str(value) for name, value in versions().items()},
    }


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None
