"""`python -m experiments.error_floor`."""

from experiments.error_floor import options
from experiments.error_floor.options import SMOKE as SMOKE
from experiments.error_floor.options import Options as Options
from experiments.shared.run import UNKEPT, command_of, late, start

STUDY = "experiments.error_floor.study"
main = late(STUDY, "main")
command = command_of(STUDY, options, stopped=UNKEPT)


if __name__ == "__main__":
    start(command)
