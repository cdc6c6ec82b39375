"""`python -m experiments.byzfl_conformance`."""

from collections.abc import Sequence

from experiments.byzfl_conformance import options
from experiments.byzfl_conformance.options import Options as Options
from experiments.shared.run import late, run, start

STUDY = "experiments.byzfl_conformance.study"


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "byzfl_conformance",
        options.__doc__,
        late(STUDY, "prepare"),
        late(STUDY, "execute"),
    )


if __name__ == "__main__":
    start(command)
