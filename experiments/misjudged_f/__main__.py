"""`python -m experiments.misjudged_f`."""

from experiments.misjudged_f import options
from experiments.misjudged_f.options import SMOKE as SMOKE
from experiments.misjudged_f.options import Options as Options
from experiments.shared.run import UNKEPT, command_of, late, start

main = late("experiments.misjudged_f.study", "main")
command = command_of(options, stopped=UNKEPT)


if __name__ == "__main__":
    start(command)
