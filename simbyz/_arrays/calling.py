"""The one calling convention: what a callable is given is a keyword-only parameter of its own.

Rules, attacks and their kind are functions of a few positional arguments. What only some of them
need is named here; a callable is given what it asks for, and nothing else.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def asks_for(function: Callable[..., Any], name: str) -> bool:
    """Whether a callable has a keyword-only parameter of that name that nothing has set: without a
    default it needs it, with the default None it does without where there is none.
    """
    given = inspect.signature(function).parameters.get(name)
    return (
        given is not None
        and given.kind is given.KEYWORD_ONLY
        and (given.default is given.empty or given.default is None)
    )


def asked(function: Callable[..., Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the known values that the callable asks for."""
    return {name: value for name, value in known.items() if asks_for(function, name)}
