"""`python -m experiments.defence_matrix`."""

from experiments.defence_matrix import options
from experiments.defence_matrix.options import SMOKE as SMOKE
from experiments.defence_matrix.options import Options as Options
from experiments.shared.run import KEPT, command_of, late, start

main = late("experiments.defence_matrix.study", "main")
command = command_of(options, stopped=KEPT)


if __name__ == "__main__":
    start(command)
