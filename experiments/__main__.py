"""Lists the experiments, a line each: what `python -m experiments` prints."""

import argparse
import ast
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.shared.stopping import to_its_reader

WIDTH = 100


def experiments() -> Iterator[tuple[str, str]]:
    """(name, question) of every package here that can be run, without importing any of them; the
    question is the first line of its docstring.
    """
    for path in sorted(Path(__file__).parent.glob("*/__main__.py")):
        source = path.with_name("__init__.py").read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(source)) or ""
        yield path.parent.name, docstring.partition("\n")[0]


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 done, 2 the user's mistake."""
    found = dict(experiments())
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Lists the experiments. Each is a program of its own: "
        "python -m experiments.NAME --help says what it can do.",
    )
    _, more = parser.parse_known_args(arguments)
    if more and more[0].startswith("-"):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        told = f"there is none of the name {more[0]!r}: it has {', '.join(found)}"
        if more[0] in found:
            told = f"each is a program of its own: python -m experiments.{' '.join(more)}"
        print(f"error: python -m experiments lists the experiments; {told}", file=sys.stderr)
        return 2
    width = max(map(len, found))
    print("python -m experiments.NAME --help says more of each:\n")
    for name, question in found.items():
        line = f"  {name:{width}}  {question}"
        print(textwrap.fill(line, WIDTH, subsequent_indent=" " * (width + 4)))
    return 0


if __name__ == "__main__":
    sys.exit(to_its_reader(command))
