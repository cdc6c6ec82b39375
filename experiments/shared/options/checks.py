"""Ranges of the values on a command line, and how names of files write them: alike in every
experiment.
"""

import dataclasses
import math
import numbers
import os
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.shared.options.synonyms import leaves, named

LARGEST = 2**31 - 1  # that a compiled program can hold
FLOATS = 1e-37, 3e38  # of float32: what lies beyond would be 0 or infinite in a program
ROUNDED_TO_1 = 1 - 2**-25  # in float32: a variance-reduced average divides by 1 - momentum


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
    **dict.fromkeys(
        ("at_step", "iterations", "gpus", "retries", "root_examples", "tolerated"), at_least(0)
    ),
    **dict.fromkeys(("learning_rate", "zeta", "memory"), POSITIVE),
    **dict.fromkeys(("weight_decay", "sigma"), NOT_NEGATIVE),
    "honest": at_least(2),
    "momentum": Range("from 0 to below 1 in float32", lambda value: 0 <= value < ROUNDED_TO_1),
    "gamma": Range("from 0 to 1", lambda value: 0 <= value <= 1),
    "seed": Range("from 0 to 2^31 - 1", lambda value: 0 <= value <= LARGEST),
    "partition_seed": Range("from 0 to 2^31 - 1", lambda value: 0 <= value <= LARGEST),
}


def check_options(options: Any, *named: str) -> None:
    """Checks of single options; those of several at once are each experiment's own.

    named: fields that must hold a value at least.

    Raises:
      ValueError: one of these holds none, a value is of another kind (see `check_kind`), out of
        its range or not within int32 or float32, two of an option's values are the same, or
        `seeds`, if there are such, are not what `check_seeds` asks for.
    """
    for name in named:
        if not getattr(options, name):
            raise ValueError(f"{name} must name at least one")
    hints = typing.get_type_hints(type(options))
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        check_kind(field.name, value, hints[field.name])
        several = isinstance(value, tuple | list)
        for one in value if several else (value,):
            check_value(field.name, one)
        if several and len(set(value)) < len(value):
            listed = ", ".join(map(str, value))
            raise ValueError(f"{field.name} must differ from each other, got [{listed}]")
    if hasattr(options, "seeds"):
        check_seeds(options.seeds)


def check_kind(name: str, value: Any, hint: Any) -> None:
    """Raises ValueError if an option that a notebook gives is not what a command line would make:
    one name in place of a tuple of them, an unknown one, text for a flag.
    """
    allowed = [what for what in leaves(hint) if what is not type(None)]
    several = isinstance(value, tuple | list)
    of_several = any(typing.get_origin(part) is tuple for part in (hint, *typing.get_args(hint)))
    if of_several and not several and value is not None:
        many = isinstance(value, Iterable) and not isinstance(value, str)
        tuple_of = f"tuple({value!r})" if many else f"({value!r},)"
        raise ValueError(f"{name} must be a tuple, such as {tuple_of}, got {value!r}")
    for one in value if several else (value,):
        if one is not None and not any(_fits(one, what) for what in allowed):
            words = " or ".join(getattr(what, "__name__", str(what)) for what in allowed)
            choices = [what for what in allowed if isinstance(what, str)]
            own = named(one, choices) if isinstance(one, str) else one
            called = f", which is called {own!r} here" if own != one else ""
            raise ValueError(f"{name} must be {words}, got {one!r}{called}")


def _fits(value: Any, what: Any) -> bool:
    """Whether a value is of a type, whole numbers being floats too and flags no numbers, or is the
    one that is allowed.
    """
    if not isinstance(what, type):
        return value == what
    if what is Path:
        return isinstance(value, str | Path)
    if what in (int, float) and isinstance(value, numbers.Integral):
        return not isinstance(value, bool)
    return isinstance(value, what)


def check_value(name: str, value: Any) -> None:
    """Raises ValueError if the option of this name can't have the value; None is none given."""
    if value is None:
        return
    if name in RANGES and not RANGES[name].holds(value):
        raise ValueError(f"{name} must be {RANGES[name].words}, got {value}")
    if isinstance(value, int) and value > LARGEST:
        raise ValueError(f"{name} must be at most 2^31 - 1 = {LARGEST}, got {value}")
    least, largest = FLOATS
    if isinstance(value, float) and math.isfinite(value) and value:
        if not least <= abs(value) <= largest:
            raise ValueError(
                f"{name} must be within float32, from {least:g} to {largest:g}, got {value}"
            )


def check_below_half(options: Any) -> None:
    """Raises ValueError if `options.f`, numbers of Byzantine workers among `options.n`, are outside
    the domain of the floor that no rule gets below, f / (n - 2f).
    """
    n = options.n
    if n < 3:
        raise ValueError(f"n must be at least 3, of whom one may be Byzantine, got {n}")
    for one in options.f:
        if not 1 <= one < n / 2:
            raise ValueError(
                f"f must be from 1 to below n / 2 = {n / 2:g}, the floor's domain, "
                f"got {one}{by_default(options, 'f')}"
            )


def by_default(options: Any, name: str) -> str:
    """What to say behind a value that nobody gave."""
    if getattr(options, name) != getattr(type(options), name):
        return ""
    return f" by default: give --{name} too"


def refuse_unused(options: Any, used: bool, by: str, *names: str) -> None:
    """Raises ValueError if one of the options of these names was given and acts on nothing that is
    asked for.

    used: whether they act on something. by: what they would act on, in words.
    """
    for name in () if used else names:
        if (value := getattr(options, name)) != getattr(type(options), name):
            raise ValueError(f"{name} acts only with {by}: leave it out, got {value}")


def check_batch_size(batch_size: int, size: int, whose: str) -> None:
    """Raises ValueError if a batch can't be drawn from so many training images."""
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch_size must be from 1 to {size}, the training images of {whose}, got {batch_size}"
        )


def check_hidden(hidden: int, workers: int, image: Sequence[int]) -> None:
    """Raises ValueError if the workers' rows have no room, of a network with one hidden layer that
    takes an image of this shape.
    """
    needed = 4 * workers * hidden * math.prod(image)
    check_memory(needed, f"hidden = {hidden} with {workers} workers", remedy="a smaller layer")


def check_memory(
    needed: float, what: str, there: float | None = None, remedy: str = "fewer workers"
) -> None:
    """Raises ValueError if so many bytes are more than there are, those of this machine if None.

    Nothing where that is not known.
    """
    if there is None:
        try:
            there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, OSError, ValueError):  # no Unix
            return
    if needed > there:
        raise ValueError(
            f"{what} takes at least {1e-9 * needed:,.0f} GB of memory, of which there are "
            f"{1e-9 * there:,.0f}: take {remedy}"
        )


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises ValueError if there are none, or one is not from 0 to 2^31 - 1."""
    if not seeds:
        raise ValueError("seeds must name at least one seed")
    if any(not 0 <= seed <= LARGEST for seed in seeds):
        raise ValueError(f"seeds must be from 0 to 2^31 - 1, got {list(seeds)}")


def as_name(value: float) -> str:
    """A number in names of runs and pictures: in six digits, or in all of them if it has more."""
    return short if float(short := f"{value:g}") == value else repr(float(value))
