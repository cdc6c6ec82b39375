"""`python -m experiments.distributed_momentum [grid | analyse | plot | collect | report |
unfinished | appendix]`, by default the small comparison.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from experiments.distributed_momentum import options
from experiments.distributed_momentum.options import SMOKE as SMOKE
from experiments.distributed_momentum.options import Options as Options
from experiments.shared.run import CHECKPOINTED, late, run, start

COMMANDS = ("grid", "analyse", "plot", "collect", "report", "unfinished", "appendix")
COMPARISON = "experiments.distributed_momentum.commands.compare"


def __getattr__(name: str) -> Any:
    """What notebooks import from here, and --help does not need."""
    if name in ("main", "plot", "prepare"):
        return getattr(importlib.import_module(COMPARISON), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0].startswith("-"):
        return run(
            Options,
            arguments,
            "distributed_momentum",
            options.__doc__,
            late(COMPARISON, "prepare"),
            late(COMPARISON, "execute"),
            stopped=CHECKPOINTED,
        )
    name, *rest = arguments
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"error: unknown command {name!r}; known: {known}, or none", file=sys.stderr)
        return 2
    # Imported late: none needs what the others import.
    module = importlib.import_module(f"experiments.distributed_momentum.commands.{name}")
    return module.command(rest)


if __name__ == "__main__":
    start(command)
