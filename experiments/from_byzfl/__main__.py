"""`python -m experiments.from_byzfl`."""

from collections.abc import Sequence

from experiments.from_byzfl import options
from experiments.from_byzfl.options import Options as Options
from experiments.shared.run import KEPT, late, run, start

STUDY = "experiments.from_byzfl.study"
main = late(STUDY, "main")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "from_byzfl",
        options.__doc__,
        late(STUDY, "prepare"),
        late(STUDY, "execute"),
        stopped=KEPT,
    )


if __name__ == "__main__":
    start(command)
