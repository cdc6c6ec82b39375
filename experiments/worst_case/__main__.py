"""`python -m experiments.worst_case`."""

from collections.abc import Sequence

from experiments.shared.run import KEPT, late, run, start
from experiments.worst_case import options
from experiments.worst_case.options import SMOKE as SMOKE
from experiments.worst_case.options import Options as Options

STUDY = "experiments.worst_case.study"
main = late(STUDY, "main")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "worst_case",
        options.__doc__,
        late(STUDY, "prepare"),
        late(STUDY, "execute"),
        stopped=KEPT,
    )


if __name__ == "__main__":
    start(command)
