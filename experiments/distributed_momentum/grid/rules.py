"""The rules by the experiment's names, as the paper's program defines them or as they were
published.
"""

import functools
from collections.abc import Callable
from typing import Literal

import simbyz  # its wings are imported when they are used: names alone need no JAX

RuleName = Literal["krum", "median", "trmean", "phocas", "meamed", "bulyan", "average"]
Conventions = Literal["released", "published"]

PAPER_RULES: tuple[str, ...] = ("krum", "median", "trmean", "phocas", "meamed", "bulyan")
# Those that the paper's program computes otherwise than their publications say.
DIVERGENT: tuple[str, ...] = ("krum", "bulyan")


def require_borne(rule: str, n: int, f: int) -> None:
    """Raises ValueError, in the rule's own name here, if it does not bear f of n rows."""
    slope, offset = {"average": (0, 1), "krum": (2, 3), "bulyan": (4, 3)}.get(rule, (2, 1))
    if n < slope * f + offset:
        raise ValueError(f"{rule} needs n >= {slope}f + {offset}, got n={n}, f={f}")


def bears(rule: str, n: int, f: int) -> bool:
    """Whether a rule bears f of n rows."""
    try:
        require_borne(rule, n, f)
    except ValueError:
        return False
    return True


def rule_of(name: str, n: int, f: int, conventions: Conventions = "released") -> Callable:
    """The rule, (stack, f) -> aggregate.

    released: the program's krum is the mean of the n - f - 2 rows with the lowest sums of n - f - 1
    plain distances; its bulyan never updates its scores. published: krum is the one row with the
    lowest sum of n - f - 2 squared distances (Blanchard et al., 2017), bulyan picks its n - 2f rows
    one at a time (El-Mhamdi et al., 2018). The other rules are the same in both.
    """
    if name == "trmean":
        return simbyz.aggregators.trimmed_mean
    if conventions == "published" or name not in DIVERGENT:
        return simbyz.aggregators.AGGREGATORS[name]
    if name == "krum":
        return functools.partial(simbyz.aggregators.multi_krum, neighbours=n - f - 1, squared=False)
    return functools.partial(simbyz.aggregators.bulyan, variant="released")


def selection_of(
    name: str, n: int, f: int, conventions: Conventions = "released", *, every: bool = False
) -> Callable | None:
    """The weights of rows, where the paper's program tells which attack rows a rule accepted, or of
    every rule.
    """
    if name != "krum" and not every:
        return None
    if name == "trmean":
        return simbyz.aggregators.trimmed_mean_selection
    if conventions == "published" or name not in DIVERGENT:
        return simbyz.aggregators.SELECTIONS[name]
    if name == "krum":
        return functools.partial(
            simbyz.aggregators.multi_krum_selection, neighbours=n - f - 1, squared=False
        )
    return functools.partial(simbyz.aggregators.bulyan_selection, variant="released")


def bound_of(name: str, n: int, f: int) -> float | None:
    """The published bound on the rule's coefficient κ, where there is one.

    None for krum: it is proved for the one row with the lowest sum of n - f - 1 squared distances,
    which it is in neither convention.
    """
    from simbyz.theory import robustness  # late, as the wings

    name = "trimmed_mean" if name == "trmean" else name
    if name == "krum" or name not in robustness.COEFFICIENT_BOUNDS:
        return None
    return robustness.COEFFICIENT_BOUNDS[name](n, f)
