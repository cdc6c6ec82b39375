"""The simulator: one run of distributed SGD under Byzantine workers, step by step."""

from simbyz.simulator.config import Config, Hyperparameters, Momentum
from simbyz.simulator.state import Simulator, State
from simbyz.simulator.step import make_simulator

__all__ = ["Config", "Hyperparameters", "Momentum", "Simulator", "State", "make_simulator"]
