"""What every experiment asks of the values on its command line."""

import dataclasses
from collections.abc import Sequence
from typing import Any

LARGEST = 2**31 - 1  # that a compiled program can hold


def check_options(options: Any, *named: str) -> None:
    """What is too small is each experiment's own to say.

    Args:
      options: a dataclass.
      named: its fields that must hold a value at least.

    Raises:
      ValueError: one of these holds none, a whole number is too large for int32, or `seeds`, if
        there are such, are not what `check_seeds` asks for.
    """
    for name in named:
        if not getattr(options, name):
            raise ValueError(f"{name} must name at least one")
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, int) and one > LARGEST:
                raise ValueError(f"{field.name} must be at most 2^31 - 1 = {LARGEST}, got {one}")
    if hasattr(options, "seeds"):
        check_seeds(options.seeds)


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises ValueError if there are none, one is not from 0 to 2^31 - 1, or two are the same."""
    if not seeds:
        raise ValueError("seeds must name at least one seed")
    if any(not 0 <= seed <= LARGEST for seed in seeds):
        raise ValueError(f"seeds must be from 0 to 2^31 - 1, got {list(seeds)}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ from each other, got {list(seeds)}")
