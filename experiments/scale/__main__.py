"""`python -m experiments.scale [sharded]`: the limits of scale in tables, or measured programs."""

import sys
from collections.abc import Sequence

from experiments.scale import limits, options
from experiments.scale.options import Options
from experiments.shared.run import late, run, start

SHARDED = "experiments.scale.sharded"


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 done, 2 the user's mistake."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] != ["sharded"]:
        return limits.command(arguments)
    prepare, execute = late(SHARDED, "prepare"), late(SHARDED, "execute")
    name, given = "scale sharded", arguments[1:]
    return run(Options, given, name, options.__doc__, prepare, execute, polled=False)


if __name__ == "__main__":
    start(command, lambda: None)
