"""`python -m experiments.decentralised`."""

from experiments.decentralised import options
from experiments.decentralised.options import SMOKE as SMOKE
from experiments.decentralised.options import Options as Options
from experiments.shared.run import CHECKPOINTED, command_of, late, start

main = late("experiments.decentralised.study", "main")
command = command_of(options, stopped=CHECKPOINTED)


if __name__ == "__main__":
    start(command)
