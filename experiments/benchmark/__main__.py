"""`python -m experiments.benchmark`."""

from collections.abc import Sequence

from experiments.benchmark import options
from experiments.benchmark.options import SMOKE as SMOKE
from experiments.benchmark.options import Options as Options
from experiments.shared.run import KEPT, late, run, start

STUDY = "experiments.benchmark.study"
main = late(STUDY, "main")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options,
        arguments,
        "benchmark",
        options.__doc__,
        late(STUDY, "prepare"),
        late(STUDY, "execute"),
        stopped=KEPT,
    )


if __name__ == "__main__":
    start(command)
