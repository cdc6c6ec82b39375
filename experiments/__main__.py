"""Lists the experiments, a line each: what `python -m experiments` prints."""

import argparse
import ast
import pkgutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

WIDTH = 100


def experiments() -> Iterator[tuple[str, str]]:
    """(name, question) of every module here that can be run, without importing any of them.

    The question is the first line of the docstring of its package.
    """
    folder = Path(__file__).parent
    for module in pkgutil.iter_modules([str(folder)]):
        if module.ispkg and (folder / module.name / "__main__.py").exists():
            source = (folder / module.name / "__init__.py").read_text(encoding="utf-8")
            docstring = ast.get_docstring(ast.parse(source)) or ""
            yield module.name, docstring.partition("\n")[0]


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 done, 2 the user's mistake."""
    argparse.ArgumentParser(
        prog="python -m experiments",
        description="Lists the experiments. Each is a program of its own: "
        "python -m experiments.NAME --help says what it can do.",
    ).parse_args(arguments)
    found = dict(experiments())
    width = max(map(len, found))
    print("python -m experiments.NAME --help says more of each:\n")
    for name, question in found.items():
        line = f"  {name:{width}}  {question}"
        print(textwrap.fill(line, WIDTH, subsequent_indent=" " * (width + 4)))
    return 0


if __name__ == "__main__":
    sys.exit(command())
