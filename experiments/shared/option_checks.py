"""Ranges of the values on a command line, and how names of files write them: alike in every
experiment.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

LARGEST = 2**31 - 1  # that a compiled program can hold


class Range(NamedTuple):
    """Allowed values, in words and as a condition."""

    words: str
    holds: Callable[[Any], bool]


def at_least(least: int) -> Range:
    return Range(f"at least {least}", lambda value: value >= least)


POSITIVE = Range("positive and finite", lambda value: math.isfinite(value) and value > 0)
NOT_NEGATIVE = Range("at least 0 and finite", lambda value: math.isfinite(value) and value >= 0)
COUNTS = "steps hidden evaluations climbers restarts d repetitions width time cpus jobs_at_once"
RANGES: dict[str, Range] = {
    **dict.fromkeys(COUNTS.split(), at_least(1)),
    **dict.fromkeys(("at_step", "iterations", "gpus", "retries"), at_least(0)),
    **dict.fromkeys(("learning_rate", "zeta", "memory"), POSITIVE),
    **dict.fromkeys(("weight_decay", "sigma"), NOT_NEGATIVE),
    "honest": at_least(2),
    "momentum": Range("from 0 to below 1", lambda value: 0 <= value < 1),
    "gamma": Range("from 0 to 1", lambda value: 0 <= value <= 1),
    "seed": Range("from 0 to 2^31 - 1", lambda value: 0 <= value <= LARGEST),
    "partition_seed": Range("from 0 to 2^31 - 1", lambda value: 0 <= value <= LARGEST),
}


def check_options(options: Any, *named: str) -> None:
    """What depends on more than one option is each experiment's own to check.

    Args:
      options: a dataclass.
      named: its fields that must hold a value at least.

    Raises:
      ValueError: one of these holds none, a value is out of its range or too large for int32, or
        `seeds`, if there are such, are not what `check_seeds` asks for.
    """
    for name in named:
        if not getattr(options, name):
            raise ValueError(f"{name} must name at least one")
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            check_value(field.name, one)
    if hasattr(options, "seeds"):
        check_seeds(options.seeds)


def check_value(name: str, value: Any) -> None:
    """Raises ValueError if the option of this name can't have the value; None is none given."""
    if value is None:
        return
    if name in RANGES and not RANGES[name].holds(value):
        raise ValueError(f"{name} must be {RANGES[name].words}, got {value}")
    if isinstance(value, int) and value > LARGEST:
        raise ValueError(f"{name} must be at most 2^31 - 1 = {LARGEST}, got {value}")


def check_below_half(f: Sequence[int], n: int) -> None:
    """Raises ValueError if a number of Byzantine workers is outside the domain of the floor that no
    rule gets below, f / (n - 2f).
    """
    for one in f:
        if not 1 <= one < n / 2:
            raise ValueError(
                f"f must be from 1 to below n / 2 = {n / 2:g}, the floor's domain, got {one}"
            )


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises ValueError if there are none, one is not from 0 to 2^31 - 1, or two are the same."""
    if not seeds:
        raise ValueError("seeds must name at least one seed")
    if any(not 0 <= seed <= LARGEST for seed in seeds):
        raise ValueError(f"seeds must be from 0 to 2^31 - 1, got {list(seeds)}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ from each other, got {list(seeds)}")


def as_name(value: float) -> str:
    """A number in names of runs and pictures: in six digits, or in all of them if it has more."""
    return short if float(short := f"{value:g}") == value else repr(float(value))
