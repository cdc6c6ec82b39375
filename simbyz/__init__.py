"""A simulator of distributed SGD under Byzantine workers: all workers in one process, on JAX.

The wings are imported when they are first named, so that `from simbyz import records` starts
neither JAX nor flax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simbyz import (
        aggregators,
        attacks,
        data,
        gossip,
        preaggregators,
        records,
        simulator,
        sweeps,
        tasks,
        theory,
    )

__version__ = "0.1.0"

__all__ = [
    "aggregators",
    "attacks",
    "data",
    "gossip",
    "preaggregators",
    "records",
    "simulator",
    "sweeps",
    "tasks",
    "theory",
]


def __getattr__(name: str) -> Any:
    if name in (*__all__, "torch"):  # not in `import *`, as PyTorch may not be there
        return importlib.import_module(f"simbyz.{name}")
    raise AttributeError(f"module 'simbyz' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "torch", "__version__"]
