"""How an experiment reads its command line: --help in groups, filled to the terminal's width.

A dataclass of options that inherits from others has a group of --help for each of them.
"""

import dataclasses
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

WIDTH = 100
# What stands in --help in place of an empty default.
ALL = tyro.conf.arg(help_behavior_hint="(default: all)")
NONE = tyro.conf.arg(help_behavior_hint="(default: none)")
OWN = tyro.conf.arg(help_behavior_hint="(default: the data set's own)")
KEPT = tyro.conf.arg(help_behavior_hint="(default: the one kept with the experiment)")
TFDS = tyro.conf.arg(help_behavior_hint="(default: $TFDS_DATA_DIR)")


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where results go, and where data come from."""

    results: Path
    """Folder of finished runs, tables and pictures."""
    data_dir: Annotated[Path | None, TFDS] = None
    """Where TensorFlow Datasets prepared the data; not for digits."""


def parse(options: Any, arguments: Sequence[str] | None, name: str, description: str) -> Any:
    """An instance of `options` from the command line; sys.argv if `arguments` is None.

    Args:
      options: a dataclass, or a union of some. Of one that inherits from dataclasses each is a
        group; fields of its own must be dataclasses then, and are groups too.
      name: of the experiment, and of what it is asked to do.
    """
    themes: list[Any] = [
        base for base in getattr(options, "__bases__", ()) if dataclasses.is_dataclass(base)
    ]
    form, own = options, []
    if themes:
        inherited = {field.name for theme in themes for field in dataclasses.fields(theme)}
        own = [field for field in dataclasses.fields(options) if field.name not in inherited]
        groups: list[tuple[str, Any]] = [(theme.__name__.lower(), theme) for theme in themes]
        groups += [(field.name, field.type) for field in own]
        form = dataclasses.make_dataclass(
            options.__name__,
            [(group, kind, dataclasses.field(default_factory=kind)) for group, kind in groups],
        )
    found = tyro.cli(
        form,
        args=arguments,
        prog=f"python -m experiments.{name}",
        description=filled(description),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if not themes:
        return found
    values = {field.name: getattr(found, field.name) for field in own}
    for theme in themes:
        values |= vars(getattr(found, theme.__name__.lower()))
    return options(**values)


def filled(text: str) -> str:
    """Paragraphs that fit the terminal; indented, for else tyro joins their lines again."""
    width = min(WIDTH, shutil.get_terminal_size().columns)
    return "\n\n".join(
        textwrap.fill(
            paragraph,
            width,
            initial_indent=" ",
            subsequent_indent=" ",
            break_on_hyphens=False,
        )
        for paragraph in text.strip().split("\n\n")
    )
