"""`python -m experiments.momentum_family`."""

from experiments.momentum_family import options
from experiments.momentum_family.options import SMOKE as SMOKE
from experiments.momentum_family.options import Options as Options
from experiments.shared.run import CHECKPOINTED, command_of, late, start

main = late("experiments.momentum_family.study", "main")
command = command_of(options, stopped=CHECKPOINTED)


if __name__ == "__main__":
    start(command)
