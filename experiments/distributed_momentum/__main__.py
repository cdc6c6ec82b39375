"""`python -m experiments.distributed_momentum [grid | analyse | plot | collect | report |
unfinished | appendix]`, by default the small comparison.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from experiments.distributed_momentum.options.compare import SMOKE as SMOKE
from experiments.distributed_momentum.options.compare import Options as Options
from experiments.shared.run import CHECKPOINTED, late, run, start

PACKAGE = "experiments.distributed_momentum"
COMPARISON = f"{PACKAGE}.commands.compare"
# How each ends early: see `run`.
COMMANDS: dict[str, dict[str, Any]] = {
    "grid": {"stopped": CHECKPOINTED, "leave": late("experiments.shared.hosts", "leave_at_once")},
    "analyse": {"polled": False},
    "plot": {"polled": False, "stopped": "some pictures are in {figures}"},
    "collect": {"polled": False},
    "report": {"polled": False, "stopped": "{report} is as it was"},
    "unfinished": {"polled": False},
    "appendix": {"stopped": CHECKPOINTED},
}
main, plot, prepare = (late(COMPARISON, name) for name in ("main", "plot", "prepare"))


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run_with` for exit codes."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0].startswith("-"):
        try:
            return _run("compare", "distributed_momentum", arguments, {"stopped": CHECKPOINTED})
        except SystemExit as error:
            if error.code and (commands := [name for name in arguments if name in COMMANDS]):
                line = f"python -m {PACKAGE} {commands[0]} [OPTIONS]"
                print(f"a command stands before its options: {line}", file=sys.stderr)
            raise
    name, *rest = arguments
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"error: unknown command {name!r}; known: {known}, or none", file=sys.stderr)
        return 2
    return _run(name, f"distributed_momentum {name}", rest, COMMANDS[name])


def _run(command: str, name: str, arguments: Sequence[str], ending: dict[str, Any]) -> int:
    """Run what the modules of this name are about."""
    options = importlib.import_module(f"{PACKAGE}.options.{command}")
    work = f"{PACKAGE}.commands.{command}"
    prepare, execute = late(work, "prepare"), late(work, "execute")
    return run(options.Options, arguments, name, options.__doc__, prepare, execute, **ending)


if __name__ == "__main__":
    start(command)
