"""`python -m experiments.misjudged_f`."""

from collections.abc import Sequence

from experiments.misjudged_f import options
from experiments.misjudged_f.options import SMOKE as SMOKE
from experiments.misjudged_f.options import Options as Options
from experiments.shared.run import UNKEPT, late, run, start

STUDY = "experiments.misjudged_f.study"
main = late(STUDY, "main")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "misjudged_f",
        options.__doc__,
        late(STUDY, "prepare"),
        late(STUDY, "execute"),
        stopped=UNKEPT,
    )


if __name__ == "__main__":
    start(command)
