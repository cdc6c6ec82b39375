"""`python -m experiments.byzfl_conformance`."""

from experiments.byzfl_conformance import options
from experiments.byzfl_conformance.options import Options as Options
from experiments.shared.run import command_of, start

command = command_of(options)


if __name__ == "__main__":
    start(command)
