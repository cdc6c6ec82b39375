"""One experiment over several processes, on one host or many, joined by `jax.distributed`.

Each process computes on its own devices; they meet to agree on who does what, and at the end. When
one dies, the others end too, within a minute: what they had finished is on disk.
"""

import atexit
import ctypes
import os
import signal
import sys

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.shared.options.hosts import Hosts

JOIN = 120  # seconds that a process waits for the others at the start
SILENCE = 30  # seconds without a sign of life, after which a process counts as dead
LONGEST = 365 * 86400  # seconds that the first to finish waits for the last


def join(hosts: Hosts) -> None:
    """Meet the other processes, before JAX looks for devices. At exit, JAX waits for them.

    Raises:
      OSError: the others did not come.
    """
    if hosts.coordinator is None or hosts.num_processes is None:
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    _say_why_it_aborts(
        f"process {hosts.process_id} of {hosts.num_processes} ends: another one died, or did not "
        f"come to {hosts.coordinator}"
    )
    try:
        jax.distributed.initialize(
            hosts.coordinator,
            hosts.num_processes,
            hosts.process_id,
            initialization_timeout=JOIN,
            heartbeat_timeout_seconds=SILENCE,
            shutdown_timeout_seconds=LONGEST,
        )
    except RuntimeError as error:
        raise OSError(
            f"process {hosts.process_id} can't join the {hosts.num_processes - 1} others at "
            f"{hosts.coordinator}: {str(error).splitlines()[0]}"
        ) from error


def everybodys(values: np.ndarray) -> np.ndarray:
    """The arrays of all processes, by number: (num_processes, *shape). All must give one shape."""
    devices = [
        next(device for device in jax.devices() if device.process_index == process)
        for process in range(jax.process_count())
    ]
    rows = NamedSharding(Mesh(np.array(devices), ("process",)), PartitionSpec("process"))
    given = jax.make_array_from_process_local_data(rows, np.asarray(values)[None])
    copies = NamedSharding(rows.mesh, PartitionSpec())
    return np.asarray(jax.jit(lambda rows: rows, out_shardings=copies)(given).addressable_data(0))


def who() -> str:
    """The start of a line that several processes may print."""
    count = jax.process_count()
    return f"process {jax.process_index()} of {count}: " if count > 1 else ""


_leaving: list[int] = []


def leave_at_once(code: int) -> int:
    """Don't wait for the other processes at the end, which ends them too; returns `code`, to exit
    with.
    """
    if jax.distributed.is_initialized() and not _leaving:
        _leaving.append(code)

        def leave() -> None:  # before what JAX does at exit, which is to wait
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

        atexit.register(leave)
    return code


def _say_why_it_aborts(why: str) -> None:
    """Where JAX finds another process dead it aborts, from a thread of its own in C++, which no
    Python code hears of: let the system call this instead, for a last line and exit code 1.
    """
    if sys.platform == "win32":
        return
    text = (
        f"error: {why} (see above); finished runs are on disk, and the same commands go on from "
        "there\n"
    ).encode()

    def last(number: int) -> None:
        os.write(2, text)
        os._exit(1)

    global _handler  # the system keeps only its address
    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(last)
    ctypes.CDLL(None).signal(signal.SIGABRT, _handler)


_handler: object = None
