"""`python -m experiments.from_byzfl`."""

from experiments.from_byzfl import options
from experiments.from_byzfl.options import Options as Options
from experiments.shared.run import KEPT, command_of, late, start

main = late("experiments.from_byzfl.study", "main")
command = command_of(options, stopped=KEPT)


if __name__ == "__main__":
    start(command)
