"""`python -m experiments.defence_matrix`."""

from collections.abc import Sequence

from experiments.defence_matrix import options
from experiments.defence_matrix.options import SMOKE as SMOKE
from experiments.defence_matrix.options import Options as Options
from experiments.shared.run import KEPT, late, run, start

STUDY = "experiments.defence_matrix.study"
main = late(STUDY, "main")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "defence_matrix",
        options.__doc__,
        late(STUDY, "prepare"),
        late(STUDY, "execute"),
        stopped=KEPT,
    )


if __name__ == "__main__":
    start(command)
