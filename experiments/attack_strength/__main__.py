"""`python -m experiments.attack_strength`."""

import functools
import sys
from collections.abc import Sequence

from experiments.attack_strength import options
from experiments.attack_strength.options import SMOKE as SMOKE
from experiments.attack_strength.options import Options as Options
from experiments.shared.run import KEPT, late, run, start

STUDY = "experiments.attack_strength.study"
main, plot = late(STUDY, "main"), late(STUDY, "plot")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run_with` for exit codes."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    execute = functools.partial(late(STUDY, "execute"), given=given)
    return run(
        Options,
        given,
        "attack_strength",
        options.__doc__,
        late(STUDY, "prepare"),
        execute,
        stopped=KEPT,
    )


if __name__ == "__main__":
    start(command)
