"""The whole numbers that every experiment takes: those that a compiled program can hold."""

import dataclasses
from typing import Any

LARGEST = 2**31 - 1


def check_whole_numbers(options: Any) -> None:
    """Raises ValueError if a whole number among the options, a dataclass, is too large for int32.

    What is too small is each experiment's own to say.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, int) and one > LARGEST:
                raise ValueError(f"{field.name} must be at most 2^31 - 1 = {LARGEST}, got {one}")
