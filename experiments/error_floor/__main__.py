"""`python -m experiments.error_floor`."""

from experiments.error_floor import options
from experiments.error_floor.options import SMOKE as SMOKE
from experiments.error_floor.options import Options as Options
from experiments.shared.run import UNKEPT, command_of, late, start

main = late("experiments.error_floor.study", "main")
command = command_of(options, stopped=UNKEPT)


if __name__ == "__main__":
    start(command)
