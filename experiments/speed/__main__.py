"""`python -m experiments.speed COMMAND`."""

import functools
import sys
from collections.abc import Callable, Sequence

from experiments.shared.run import late, run, start
from experiments.speed import options
from experiments.speed.options import Options

WORK = "experiments.speed.commands"


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run_with` for exit codes."""
    prepare, execute = late(WORK, "prepare"), late(WORK, "execute")
    return run(Options, arguments, "speed", options.__doc__, prepare, execute, polled=False)


if __name__ == "__main__":
    on_all_cores = late("experiments.shared.devices", "prepare_devices")
    devices: dict[str, Callable[[], None]] = {
        "grid": functools.partial(on_all_cores, keep_programs=False),
        "gpu": on_all_cores,
    }
    use_one_core = late("experiments.speed.timing", "use_one_core")
    start(command, devices.get("".join(sys.argv[1:2]), use_one_core))
