"""When a run stopped being finite.

A run has diverged where its loss or its parameters are no longer finite; what is not finite in what
Byzantine workers send (a `nan` attack) is none of it as long as the rule keeps it out.
"""

import numpy as np
import pandas as pd

COLUMNS = ("loss", "distance_from_start")


def diverged_step(loss: np.ndarray, distance_from_start: np.ndarray) -> int | None:
    """The first step at which a run is not finite; None if there is none.

    Args:
      loss: (steps + 1,); its last value is not looked at, no loss being taken after the last step.
      distance_from_start: (steps + 1,) of the parameters, before each step and after the last one.
        It is not finite where they are not, or where they are so far away that the norm overflows.
    """
    finite = np.isfinite(np.asarray(distance_from_start, float))
    finite[:-1] &= np.isfinite(np.asarray(loss, float)[:-1])
    return None if finite.all() else int(np.argmin(finite))


def diverged_steps(steps: pd.DataFrame) -> pd.Series:
    """`diverged_step` of each run, by its digest; NaN where a run is finite.

    Taken from the steps themselves, so that runs written before it was recorded have it too.

    Args:
      steps: as `records.read_steps` gives them, with the columns `COLUMNS`.
    """
    first = {
        digest: diverged_step(*(one[name].to_numpy() for name in COLUMNS))
        for digest, one in steps.groupby("digest", observed=True, sort=False)
    }
    return pd.Series(first, dtype=float)
