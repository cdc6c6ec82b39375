"""Values in a file: numbers in their ranges, and what a misspelt word may have meant."""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from experiments.shared.options.checks import check_value


class Number(NamedTuple):
    """A number: its default, which says whether it is whole, and its range, in words if it is open
    at an end.
    """

    default: float
    least: float = -math.inf
    most: float = math.inf
    words: str = ""

    def read(self, name: str, value: Any) -> Any:
        """The value, as an int or a float.

        Raises:
          ValueError: it is none, out of range, or not within int32 or float32.
        """
        whole = isinstance(self.default, int)
        kinds = (int,) if whole else (int, float)
        kind = "a whole number" if whole else "a number"
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"{name} must be {kind}, got {value!r}")
        if not self.least <= value <= self.most:
            ends = f"from {self.least} to {self.most}"
            if self.most == math.inf:
                ends = f"at least {self.least}"
            ends = self.words or ends
            raise ValueError(f"{name} must be {ends}, got {value}")
        check_value(name, value)
        return value if whole else float(value)


def did_you_mean(word: str, known: Iterable[str], others: Mapping[str, str] = {}) -> str:
    """The known word that is meant, or all of them.

    others: further spellings, and the known word that each stands for.
    """
    known = list(known)
    meant = {name.lower(): name for name in known} | dict(others)
    close = difflib.get_close_matches(word.lower(), meant, n=1)
    close += [name for name in meant if len(word) > 2 and word.lower() in name]
    if close:
        return f"did you mean {meant[close[0]]}?"
    return f"expected {', '.join(known)}" if known else "it has none"
