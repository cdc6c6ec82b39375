"""`python -m experiments.decentralised`."""

from collections.abc import Sequence

from experiments.decentralised import options
from experiments.decentralised.options import SMOKE as SMOKE
from experiments.decentralised.options import Options as Options
from experiments.shared.run import CHECKPOINTED, late, run, start

STUDY = "experiments.decentralised.study"
main = late(STUDY, "main")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "decentralised",
        options.__doc__,
        late(STUDY, "prepare"),
        late(STUDY, "execute"),
        stopped=CHECKPOINTED,
    )


if __name__ == "__main__":
    start(command)
