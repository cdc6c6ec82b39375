"""`python -m experiments.benchmark`."""

from experiments.benchmark import options
from experiments.benchmark.options import SMOKE as SMOKE
from experiments.benchmark.options import Options as Options
from experiments.shared.run import KEPT, command_of, late, start

main = late("experiments.benchmark.study", "main")
command = command_of(options, stopped=KEPT)


if __name__ == "__main__":
    start(command)
