"""The one calling convention: what a callable is given is a keyword-only parameter of its own.

Rules, attacks and their kind are functions of a few positional arguments. What only some of them
and nothing else.

What a caller gives, and what a user's callable returns, is checked here too.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature, signature
from typing import Any

import jax
import numpy as np


def asks_for(function: Callable[..., Any], name: str) -> bool:
    """Whether a callable has a keyword-only parameter of that name that nothing has set: without a
    default it needs it, with the default None it does without where there is none.
    """
    return _asking(function, name) is not None


def asked(function: Callable[..., Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the known values that the callable asks for."""
    return {name: value for name, value in known.items() if asks_for(function, name)}


def signature_of_all(
    functions: Sequence[Callable[..., Any]], positional: Sequence[str], names: Sequence[str]
) -> Signature:
    """The signature of a callable that calls them all: with those of the names that any of them
    asks for, and the default None where all who ask do without.
    """
    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in positional]
    for name in names:
        asking = [found for each in functions if (found := _asking(each, name)) is not None]
        if asking:
            needed = any(found.default is found.empty for found in asking)
            default = Parameter.empty if needed else None
            parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default))
    return Signature(parameters)


def name_of(function: Any) -> str:
    """A callable's name, of a configured one that of what was configured."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", repr(function))


def flag(name: str, value: Any) -> bool:
    """The value, if it is True or False.

    Raises:
      TypeError: it is neither: any other would count as one of them in silence.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def require_callable(what: str, value: Any, example: str) -> None:
    """Raises TypeError where a function is asked for, such as the example, and none is given."""
    if not callable(value):
        raise TypeError(f"{what} must be a function, such as {example}, got {value!r}")


def require_key(key: Any) -> None:
    """Raises TypeError where a key is asked for, and a number is given."""
    if not isinstance(key, jax.Array | np.ndarray):
        raise TypeError(f"key must be a jax.random.key, got {key!r}: use jax.random.key(0)")


def require_shape(what: str, value: Any, shape: tuple[int, ...], words: str) -> None:
    """Whether a user's function gave an array of this shape.

    Args:
      what: gave it, such as "the rule krum".
      value: that it gave.
      shape: expected.
      words: what this stands for, such as "an aggregate (d,)".

    Raises:
      ValueError: it gave another.
    """
    kinds = jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic | float | int
    is_array = isinstance(value, kinds)
    if not is_array or np.shape(value) != shape:
        got = f"shape {np.shape(value)}" if is_array else type(value).__name__
        raise ValueError(f"{what} must return {words} of shape {shape}, got {got}")


def _asking(function: Callable[..., Any], name: str) -> Parameter | None:
    given = signature(function).parameters.get(name)
    if given is None or given.kind is not given.KEYWORD_ONLY:
        return None
    return given if given.default is given.empty or given.default is None else None
