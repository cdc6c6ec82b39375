"""The one calling convention: what a callable is given is a keyword-only parameter of its own.

Rules, attacks and their kind are functions of a few positional arguments. What only some of them
need is named here; a callable is given what it asks for, and nothing else.
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from inspect import Parameter, Signature, signature
from typing import Any

from simbyz._arrays.checks import require_callable

# What a rule may ask for and the simulator gives: a random key, its memory, the rows' masses, whose
# rows they are (numbers of the workers), the parameters (d,) before the step, and of the server's
# own examples the gradient or `Root`. An attack may ask for the latter.
OF_ROOT = ("trusted", "root")
ASKED = ("key", "state", "masses", "workers", "parameters", *OF_ROOT)


def asks_for(function: Callable[..., Any], name: str) -> bool:
    """Whether a callable has a keyword-only parameter of that name that nothing has set: without a
    default it needs it, with the default None it does without where there is none.
    """
    return _asking(function, name) is not None


def needs(function: Callable[..., Any], name: str) -> bool:
    """Whether a callable asks for that, and does not do without."""
    found = _asking(function, name)
    return found is not None and found.default is found.empty


def asked(function: Callable[..., Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the known values that the callable asks for."""
    return {name: value for name, value in known.items() if asks_for(function, name)}


def require_known(what: str, function: Callable[..., Any], known: Collection[str]) -> None:
    """Whether a callable needs no other names than those that it can be given.

    Args:
      what: it is, such as "the rule krum".
      function: the callable.
      known: names of what it may ask for.

    Raises:
      ValueError: it needs others.
    """
    needed = [name for name in signature(function).parameters if needs(function, name)]
    if others := [name for name in needed if name not in known]:
        instead = f", or ask for some of {', '.join(known)}" if known else ""
        raise ValueError(
            f"{what} asks for {', '.join(others)}, which it is not given here: bind it, as by "
            f"functools.partial{instead}"
        )


def require_rule(of: str, rule: Any, known: Collection[str] = ()) -> None:
    """Whether a rule, of another rule or an attack of this name, is a function that needs no more
    than it can be given there.

    Raises:
      TypeError: it is no function.
      ValueError: it needs more, such as a key that is not bound.
    """
    require_of_updates("rule", rule)
    require_known(f"the rule {name_of(rule)} of {of}", rule, known)


def require_of_updates(what: str, rule: Any, example: str = "simbyz.aggregators.median") -> None:
    """Raises TypeError where it is no function of (updates, f), such as one that makes a rule."""
    require_callable(what, rule, example)
    if not takes(rule, 2):
        raise TypeError(
            f"{what} must be a function of (updates, f), such as {example}, got {name_of(rule)}, "
            "which takes fewer or more: call it, if it makes one"
        )


def require_taking(
    what: str,
    function: Any,
    names: str,
    example: str,
    *,
    by_name: bool = False,
    advice: str = "it takes fewer or more",
) -> None:
    """Raises TypeError where it is no function of as many positional arguments as these names; see
    `takes`.
    """
    require_callable(what, function, example)
    if not takes(function, len(names.split(", ")) if names else 0, by_name=by_name):
        raise TypeError(
            f"{what} must be a function, such as {example}, of ({names}), got "
            f"{name_of(function)}: {advice}"
        )


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


def takes(function: Callable[..., Any], count: int, *, by_name: bool = False) -> bool:
    """Whether a callable takes so many positional arguments, and needs no more of them; none but by
    name, if options are given to it by theirs.
    """
    parameters = signature(function)
    try:
        bound = parameters.bind_partial(*[None] * count).arguments
    except TypeError:
        return False
    kinds = [Parameter.POSITIONAL_ONLY, *[Parameter.POSITIONAL_OR_KEYWORD] * (not by_name)]
    return not any(
        one.kind in kinds and one.default is one.empty and name not in bound
        for name, one in parameters.parameters.items()
    )


def takes_option(function: Callable[..., Any], name: str) -> bool:
    """Whether a callable can be given an option of that name."""
    parameters = signature(function).parameters
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def name_of(function: Any) -> str:
    """A callable's name, of a configured one that of what was configured."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", repr(function))


def _asking(function: Callable[..., Any], name: str) -> Parameter | None:
    given = signature(function).parameters.get(name)
    if given is None or given.kind is not given.KEYWORD_ONLY:
        return None
    return given if given.default is given.empty or given.default is None else None
