"""Synonyms of rules and attacks, understood on every command line; results show an experiment's own
names.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

# The paper's program, this library, others.
SYNONYMS = (
    ("trmean", "trimmed_mean"),
    ("little", "a_little_is_enough", "alie"),
    ("empire", "fall_of_empires"),
    ("average", "mean"),
    ("geometric_median", "rfa"),
    ("minimum_diameter_averaging", "mda"),
    ("nearest_neighbor_mixing", "nnm"),
    ("adaptive_robust_clipping", "arc"),
)


def translated(arguments: Sequence[str], options: Any) -> list[str]:
    """The arguments with values that an option does not know, but a synonym of, replaced by it.

    options: a dataclass of options, whose types name the values, or a union of some.
    """
    known = dict(_choices(options))
    result, choices = [], frozenset[str]()
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            choices = known.get(name.replace("_", "-"), frozenset())
            result.append(name + equals + named(value, choices))
        else:
            result.append(named(argument, choices))
    return result


def named(value: str, choices: Iterable[str]) -> str:
    """The value, or the one of the choices that is its only synonym among them."""
    if value in choices:
        return value
    names = {name for group in SYNONYMS if value in group for name in group}
    own = sorted(names & set(choices))
    return own[0] if len(own) == 1 else value


def _choices(options: Any) -> Iterator[tuple[str, frozenset[str]]]:
    """The values that each option takes, of those that name them."""
    # A mark beside a type, as tyro's of a subcommand, may be an instance of a dataclass.
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        for part in get_args(options):
            yield from _choices(part)
        return
    for field in dataclasses.fields(options):
        values = frozenset(value for value in leaves(field.type) if isinstance(value, str))
        yield "--" + field.name.replace("_", "-"), values


def leaves(hint: Any) -> Iterator[Any]:
    """The types and values that a type hint of an option allows, of a tuple those in it."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif parts := get_args(hint):
        for part in parts:
            if part is not ...:
                yield from leaves(part)
    else:
        yield hint
