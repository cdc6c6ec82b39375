"""`python -m experiments.worst_case`."""

from experiments.shared.run import KEPT, command_of, late, start
from experiments.worst_case import options
from experiments.worst_case.options import SMOKE as SMOKE
from experiments.worst_case.options import Options as Options

main = late("experiments.worst_case.study", "main")
command = command_of(options, stopped=KEPT)


if __name__ == "__main__":
    start(command)
