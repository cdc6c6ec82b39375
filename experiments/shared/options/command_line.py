"""How an experiment reads its command line: --help in groups, filled to the terminal's width.

A dataclass of options that inherits from others has a group of --help for each of them.
"""

import dataclasses
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.shared.options.synonyms import translated

WIDTH = 100


def hint(default: str) -> Any:
    """What stands in --help in place of an empty default."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})")


ALL, NONE, OWN = hint("all"), hint("none"), hint("the data set's own")
KEPT, TFDS = hint("the one kept with the experiment"), hint("$TFDS_DATA_DIR")
CHECKPOINT_EVERY = 60.0  # seconds, by default


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where results go, and where data come from."""

    results: Path
    """Folder of finished runs, tables and pictures."""
    data_dir: Annotated[Path | None, TFDS] = None
    """Where TensorFlow Datasets prepared the data; not for digits."""


def parse(options: Any, arguments: Sequence[str] | None, name: str, description: str) -> Any:
    """An instance of `options` from the command line; sys.argv if `arguments` is None. Rules and
    attacks may be called by their `SYNONYMS`.

    Args:
      options: a dataclass, or a union of some. Each dataclass that it inherits from is a group of
        --help.
      name: of the experiment, and of what it is asked to do.

    Raises:
      ValueError: see `refuse_slips`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    refuse_slips(arguments)
    bases: tuple[Any, ...] = getattr(options, "__bases__", ())
    groups: list[Any] = [base for base in bases if dataclasses.is_dataclass(base)]
    # tyro makes a group of a field that is a dataclass.
    fields = [(base.__name__.lower(), base, base()) for base in groups]
    given = translated(arguments, options)
    found = tyro.cli(
        dataclasses.make_dataclass(options.__name__, fields) if groups else options,
        args=given,
        prog=f"python -m experiments.{name}",
        description=filled(description),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if not groups:
        return found
    values = [vars(group) for group in vars(found).values()]
    return options(**{name: value for group in values for name, value in group.items()})


# Bytes of a file's name and path, in the systems of our days; a run's own name comes behind.
LONGEST_NAME, LONGEST_PATH = 255, 3800


def refuse_slips(arguments: Sequence[str]) -> None:
    """What would pass for something else: the last of two equal options, an empty path for here.

    Raises:
      ValueError: an option is given twice, or a value is empty, not UTF-8, or longer than a file's
        name can be.
    """
    option, options = "the command", []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("--"):
            option = name.replace("_", "-")
            options.append(option.replace("--no-", "--", 1))
        elif argument:
            equals, value = "", argument
        if not argument or (equals and not value):
            raise ValueError(f"{option} was given an empty value: leave it out, or give one")
        if any("\ud800" <= sign <= "\udfff" for sign in value):  # bytes that are no letters
            raise ValueError(f"{option} was given a name that is not UTF-8, {value!r}: rename it")
        longest = max(len(part.encode()) for part in value.split("/"))
        if longest > LONGEST_NAME or len(value.encode()) > LONGEST_PATH:
            raise ValueError(
                f"{option} was given a name too long for a file: at most {LONGEST_NAME} bytes, "
                f"{LONGEST_PATH} with its folders, got {value[:20]}..."
            )
    twice = [name for name, count in Counter(options).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]} was given twice: of an option the last alone would count")


def filled(text: str) -> str:
    """Paragraphs that fit the terminal; indented, for else tyro joins their lines again."""
    width = min(WIDTH, shutil.get_terminal_size().columns)
    return "\n\n".join(
        textwrap.fill(
            paragraph, width, initial_indent=" ", subsequent_indent=" ", break_on_hyphens=False
        )
        for paragraph in text.strip().split("\n\n")
    )
