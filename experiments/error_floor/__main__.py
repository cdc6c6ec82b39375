"""`python -m experiments.error_floor`."""

from collections.abc import Sequence

from experiments.error_floor import options
from experiments.error_floor.options import SMOKE as SMOKE
from experiments.error_floor.options import Options as Options
from experiments.shared.run import UNKEPT, late, run, start

STUDY = "experiments.error_floor.study"
main = late(STUDY, "main")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "error_floor",
        options.__doc__,
        late(STUDY, "prepare"),
        late(STUDY, "execute"),
        stopped=UNKEPT,
    )


if __name__ == "__main__":
    start(command)
