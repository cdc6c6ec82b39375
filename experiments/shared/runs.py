"""Runs as files: which a command asks for, what they are called, and which are not there yet."""

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from simbyz import records


class Named(Protocol):
    """A run: all that defines it, and the name that its file begins with."""

    @property
    def name(self) -> str: ...
    @property
    def configuration(self) -> dict: ...


AnyRun = TypeVar("AnyRun", bound=Named)


def file_of(run: Named) -> str:
    return records.run_path("", run.name, run.configuration).name


class Record(NamedTuple):
    """A run that is no more than this."""

    name: str
    configuration: dict

    @property
    def file(self) -> str:
        return file_of(self)


def combinations(kind: type[Any], options: Any, axes: Sequence[str]) -> list[Any]:
    """All runs that are asked for, none twice.

    Args:
      kind: a dataclass, whose fields are named as the options.
      options: each of one value, but for the axes and `seeds`.
      axes: the options of several values, all combinations of which are run: the first changes
        slowest, the seed fastest.
    """
    values = {name: getattr(options, name) for name in axes} | {"seed": options.seeds}
    names = [field.name for field in dataclasses.fields(kind) if field.name not in values]
    common = {name: getattr(options, name) for name in names}
    found = itertools.product(*values.values())
    return list(dict.fromkeys(kind(**common, **dict(zip(values, x, strict=True))) for x in found))


def unfinished(folder: Path, runs: Iterable[AnyRun]) -> list[AnyRun]:
    return [run for run in runs if not records.is_finished(folder, run.name, run.configuration)]


Item = TypeVar("Item")


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """The items of one key together, in the order in which they come."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
