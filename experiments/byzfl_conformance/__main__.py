"""`python -m experiments.byzfl_conformance`."""

from experiments.byzfl_conformance import options
from experiments.byzfl_conformance.options import Options as Options
from experiments.shared.run import command_of, start

STUDY = "experiments.byzfl_conformance.study"
command = command_of(STUDY, options)


if __name__ == "__main__":
    start(command)
