"""`python -m experiments.misjudged_f`."""

from experiments.misjudged_f import options
from experiments.misjudged_f.options import SMOKE as SMOKE
from experiments.misjudged_f.options import Options as Options
from experiments.shared.run import UNKEPT, command_of, late, start

STUDY = "experiments.misjudged_f.study"
main = late(STUDY, "main")
command = command_of(STUDY, options, stopped=UNKEPT)


if __name__ == "__main__":
    start(command)
