"""`python -m experiments.momentum_family`."""

from collections.abc import Sequence

from experiments.momentum_family import options
from experiments.momentum_family.options import SMOKE as SMOKE
from experiments.momentum_family.options import Options as Options
from experiments.shared.run import CHECKPOINTED, late, run, start

STUDY = "experiments.momentum_family.study"
main = late(STUDY, "main")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "momentum_family",
        options.__doc__,
        late(STUDY, "prepare"),
        late(STUDY, "execute"),
        stopped=CHECKPOINTED,
    )


if __name__ == "__main__":
    start(command)
