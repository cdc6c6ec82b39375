"""Many runs of one program: seeds and hyperparameters as lanes, over devices, resumable."""

from simbyz.sweeps.many_runs import Lane, Result, Stopped, sweep

__all__ = ["Lane", "Result", "Stopped", "sweep"]
