"""Values of a run as JSON: numbers, texts, lists and mappings.

JSON has no NaN and no infinity, so these floats are written as the strings "NaN", "Infinity" and
"-Infinity" and are floats again when read.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def require_mapping(name: str, value: Any) -> None:
    """Raises TypeError where values by name are asked for, and something else is given."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be values by name, such as a dict, got {value!r}")


def to_json(values: Mapping[str, Any]) -> str:
    """The values by name, in the order of their names, NumPy's and JAX's as Python's.

    Raises:
      TypeError: a value is of another kind.
      ValueError: a text would be read as a float.
    """
    return json.dumps(_plain(values), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # an array or a scalar of numpy or jax
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if not isinstance(value, str | int | float | None):
        raise TypeError(
            f"a run's values must be numbers, texts, lists, mappings or None, got {value!r}"
        )
    if isinstance(value, str) and value in NOT_FINITE:
        raise ValueError(f"the text {value!r} would be read as a float: give the float, or another")
    return value


def from_json(value: Any) -> Any:
    """A value that JSON gave, with floats that are not finite in place of their names."""
    if isinstance(value, dict):
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value
