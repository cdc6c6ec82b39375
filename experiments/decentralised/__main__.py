"""`python -m experiments.decentralised`."""

from experiments.decentralised import options
from experiments.decentralised.options import SMOKE as SMOKE
from experiments.decentralised.options import Options as Options
from experiments.shared.run import CHECKPOINTED, command_of, late, start

STUDY = "experiments.decentralised.study"
main = late(STUDY, "main")
command = command_of(STUDY, options, stopped=CHECKPOINTED)


if __name__ == "__main__":
    start(command)
