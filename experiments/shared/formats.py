"""Tables in the format that one asks for: to read here, to paste, or to compute with.

All are made of the same `rich` table. A cell of several lines, under a heading of as many, becomes
as many columns, and "mean ± deviation" two, except where they stand to be read.
"""

import csv
import dataclasses
import io
import shutil
import sys
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

Format = Literal["table", "csv", "latex", "markdown"]
PaperName = Literal["screen", "column", "page"]  # where a picture is to stand
WIDTH = 100  # of a table where there is room
BETWEEN = " ± "
IN_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "×": r"$\times$",
    "✕": r"$\times$",
    "κ": r"$\kappa$",
    "ε": r"$\varepsilon$",
    "α": r"$\alpha$",
    "ζ": r"$\zeta$",
    "λ": r"$\lambda$",
}


@dataclasses.dataclass(frozen=True)
class Output:
    """How tables are printed."""

    format: Format = "table"
    """latex: with booktabs. csv: numbers and their deviations in columns of their own."""


class Printer(Console):
    """A console of 100 columns, or of a narrower terminal's, that prints tables in a format."""

    def __init__(self, format: Format = "table", **options: Any):
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
        super().__init__(**{"width": min(width, WIDTH)} | options)
        self.format = format

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints as `rich` does, but for a table where another format is asked for."""
        table = objects[0] if objects and isinstance(objects[0], Table) else None
        if table is not None and self.format != "table":
            self.file.write(WRITERS[self.format](table))
            return
        width = self.width
        if table is not None and width < WIDTH:
            table.box, table.padding, table.show_edge = SIMPLE_HEAD, (0, 0), False
            # Not one cell is cut: what still is wider than the terminal is wrapped by it.
            for column in table.columns:
                if column.no_wrap:
                    lines = [str(text).split("\n") for text in (column.header, *column.cells)]
                    column.min_width = max(len(line) for some in lines for line in some)
            room = self.options.update(max_width=10_000)
            self.width = max(width, Measurement.get(self, room, table).minimum)
        super().print(*objects, **options)
        self.width = width


def columns_of(table: Table) -> dict[str, list[str]]:
    """The cells of a table by heading, each line of a cell in a column of its own."""
    columns: dict[str, list[str]] = {}
    for column in table.columns:
        names = str(column.header).split("\n")
        cells = [str(cell).split("\n") for cell in column.cells]
        for place, name in enumerate([names[0], *(f"{names[0]}, {name}" for name in names[1:])]):
            columns[name] = [cell[place] if place < len(cell) else "" for cell in cells]
        # What stands below without a heading, such as how many runs diverged.
        extra = [" ".join(cell[len(names) :]) for cell in cells]
        if any(extra):
            columns[f"{names[0]}: note"] = extra
    return columns


def as_csv(table: Table) -> str:
    """Comma-separated, without title and caption: for programs."""
    columns: dict[str, list[str]] = {}
    for name, cells in columns_of(table).items():
        pairs = [cell.partition(BETWEEN) for cell in cells]
        columns[name] = [pair[0].strip() for pair in pairs]
        if any(between for _, between, _ in pairs):
            columns[f"{name} ±"] = [pair[2].strip() for pair in pairs]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue() + "\n"


def as_markdown(table: Table) -> str:
    """A pipe table under its title, its caption below."""
    columns = columns_of(table)
    numbers = _numbers(table)
    rules = ["--:" if place in numbers else "---" for place in range(len(columns))]
    rows = [list(columns), rules, *map(list, zip(*columns.values(), strict=True))]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    parts = [table.title, "\n".join(lines), table.caption]
    return "".join(f"{part}\n\n" for part in parts if part)


def as_latex(table: Table) -> str:
    """A table environment for the package booktabs."""
    columns = columns_of(table)
    numbers = _numbers(table)
    kinds = "".join("r" if place in numbers else "l" for place in range(len(columns)))
    rows = [" & ".join(map(_in_latex, row)) + r" \\" for row in zip(*columns.values(), strict=True)]
    caption = ". ".join(str(text) for text in (table.title, table.caption) if text)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_in_latex(caption)}}}",
        rf"  \begin{{tabular}}{{{kinds}}}",
        r"    \toprule",
        "    " + " & ".join(map(_in_latex, columns)) + r" \\",
        r"    \midrule",
        *(f"    {row}" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n\n"


WRITERS = {"csv": as_csv, "latex": as_latex, "markdown": as_markdown}


def _numbers(table: Table) -> set[int]:
    """The places of the columns that stand to the right."""
    kinds: list[str] = []
    for column in table.columns:
        lines = 1 + str(column.header).count("\n")
        lines += any(str(cell).count("\n") >= lines for cell in column.cells)
        kinds += [column.justify] * lines
    return {place for place, kind in enumerate(kinds) if kind == "right"}


def _in_latex(text: str) -> str:
    return "".join(IN_LATEX.get(sign, sign) for sign in text)
