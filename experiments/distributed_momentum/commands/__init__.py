"""The sub-commands of `python -m experiments.distributed_momentum`."""
