"""`python -m experiments.scale [sharded]`: the limits of scale in tables, or measured programs."""

import sys
from collections.abc import Sequence

from experiments.scale import limits
from experiments.shared.run import start


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 done, 2 the user's mistake."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["sharded"]:
        from experiments.scale import sharded  # what it imports, the tables do not need

        return sharded.command(arguments[1:])
    return limits.command(arguments)


if __name__ == "__main__":
    start(command, lambda: None)
