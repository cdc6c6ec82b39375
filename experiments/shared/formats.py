"""Tables in the format that one asks for: to read here, to paste, or to compute with.

All are made of the same `rich` table. A cell of several lines, under a heading of as many, becomes
as many columns, and "mean ± deviation" two, except where they stand to be read.
"""

import csv
import dataclasses
import io
import itertools
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

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
    "μ": r"$\mu$",
    "µ": r"$\mu$",  # the sign of micro, not the Greek letter
    "σ": r"$\sigma$",
    "γ": r"$\gamma$",
    "θ": r"$\theta$",
    "²": r"$^2$",
    "³": r"$^3$",
    "₂": r"$_2$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "<": "$<$",
    ">": "$>$",
    "·": r"$\cdot$",
    "∇": r"$\nabla$",
    "Σ": r"$\Sigma$",
    "→": r"$\to$",
    "←": r"$\gets$",
}
SIGNS = str.maketrans(IN_LATEX)
HAT = "\N{COMBINING CIRCUMFLEX ACCENT}"


@dataclasses.dataclass(frozen=True)
class Output:
    """How tables are printed."""

    format: Format = "table"
    """latex: with booktabs. csv: numbers and their deviations in columns of their own, titles on
    standard error."""


class Printer(Console):
    """A console of 100 columns, or of a narrower terminal's, that prints tables in a format; a
    table of which a cell would be cut is wider.
    """

    def __init__(self, format: Format = "table", **options: Any):
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
        super().__init__(**{"width": min(width, WIDTH)} | options)
        self.format = format

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints as `rich` does, but for a table where another format is asked for."""
        table = objects[0] if objects and isinstance(objects[0], Table) else None
        if table is not None and self.format != "table":
            if self.format == "csv":  # which has no place for them, and of several one is which?
                for words in filter(None, (table.title, table.caption)):
                    self.note(str(words))
            self.file.write(WRITERS[self.format](table))
            return
        width = self.width
        if table is not None and width < WIDTH:
            table.box, table.padding, table.show_edge = SIMPLE_HEAD, (0, 0), False
        if table is not None and (width < WIDTH or self._cuts(table)):
            # Not one cell is cut: what still is wider than the terminal is wrapped by it.
            for column in table.columns:
                if column.no_wrap:
                    lines = [str(text).split("\n") for text in (column.header, *column.cells)]
                    column.min_width = max(len(line) for some in lines for line in some)
            room = self.options.update(max_width=10_000)
            self.width = max(width, Measurement.get(self, room, table).minimum)
        super().print(*objects, **options)
        self.width = width

    def _cuts(self, table: Table) -> bool:
        """Whether a cell would end in the sign of what is left out."""
        lines = self.render_lines(table, pad=False)
        return any("…" in segment.text for line in lines for segment in line)

    def note(self, line: str) -> None:
        """A line that belongs to no table: see `beside`."""
        if self.format == "table":
            self.print(line, highlight=False, markup=False)
        else:
            print(line, file=beside(self.format))


def beside(format: Format) -> TextIO:
    """Where lines go that are no table: with tables to be read behind these, on standard output;
    with those that programs read, and take each line for a row of, on standard error.
    """
    return sys.stdout if format == "table" else sys.stderr


def tell_written(paths: Sequence[Path], format: Format, *, pictures: bool = False) -> None:
    """A line on the files that a command wrote; pictures: the first alone by name, as all others
    are pictures.
    """
    names = ", ".join(map(str, paths))
    if pictures:
        names = f"{paths[0]} and {len(paths) - 1} pictures beside it"
    elif len(paths) > 1 and len({path.parent for path in paths}) == 1:
        names = f"{', '.join(path.name for path in paths)} in {paths[0].parent}"
    print(f"written: {names}", file=beside(format))


def counted(number: int, thing: str) -> str:
    """1 seed, 5 seeds."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def of_seeds(seeds: Sequence[int]) -> str:
    """seed 1, seeds 1, 2, 3."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def add_words(table: Table, *names: str) -> None:
    """Columns of words that are not broken."""
    for name in names:
        table.add_column(name, no_wrap=True)


def add_numbers(table: Table, *names: str) -> None:
    """Columns of numbers: to the right, and not broken."""
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)


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
    """Comma-separated, without title and caption, which `Printer` tells: for programs. What stands
    behind a number, such as the attack that it is under, is a column of its own, and each row has
    its own names.
    """
    columns: dict[str, list[str]] = {}
    for name, cells in _named_in_every_row(columns_of(table)).items():
        found = [_MEASURED.fullmatch(cell.strip()) for cell in cells]
        texts = [cell for cell, one in zip(cells, found, strict=True) if not one]
        if set(texts) - {"", "-"} and not any(one and one["deviation"] for one in found):
            columns[name] = [cell.strip() for cell in cells]  # of words, which a number may begin
            continue
        columns[name] = [
            _plain(one["mean"]) if one else cell.strip()
            for one, cell in zip(found, cells, strict=True)
        ]
        deviations = [_plain(one["deviation"] or "") if one else "" for one in found]
        notes = [
            " ".join(filter(None, one.group("lost", "too", "note"))) if one else "" for one in found
        ]
        for some, heading in ((deviations, f"{name} ±"), (notes, f"{name}: note")):
            if any(some):
                columns[heading] = some
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue() + "\n"


def _plain(number: str) -> str:
    """A number as programs read it."""
    return number.replace("∞", "inf")


def _named_in_every_row(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """The names that a row to be read leaves out, as they are those of the row above: the first
    cell, where it is empty, and the empty ones right behind it.
    """
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    for above, row in itertools.pairwise(rows):
        left_out = next((place for place, cell in enumerate(row) if cell), 0)
        row[:left_out] = above[:left_out]
    return {name: [row[place] for row in rows] for place, name in enumerate(columns)}


def as_markdown(table: Table) -> str:
    """A pipe table under its title, its caption below."""
    columns = columns_of(table)
    numbers = _numbers(table)
    rules = ["--:" if place in numbers else "---" for place in range(len(columns))]
    rows = [list(columns), rules, *map(list, zip(*columns.values(), strict=True))]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    parts = [table.title, "\n".join(lines), table.caption]
    return "".join(f"{part}\n\n" for part in parts if part)


def rows_in_markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table of rows under their headings."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def in_markdown(rows: Iterable[Mapping[str, object]]) -> str:
    """A pipe table of rows with the same keys, which are its headings."""
    rows = list(rows)
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(map(str, row.values())) + " |" for row in rows]
    return "\n".join(lines) + "\n"


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


_NUMBER = r"[-+]?(?:[\d.]+(?:e[-+]?\d+)?|∞)"
# A number, its deviation, what stands behind; a cross behind either says that runs diverged, and
# behind a whole number alone how many did, which is a note; "!" that it is above its bound.
_MEASURED = re.compile(
    rf"(?!\d+✕$)(?P<mean>{_NUMBER})(?P<lost>[✕!]?)(?:{BETWEEN}(?P<deviation>{_NUMBER}|-))?(?P<too>✕?)"
    "(?: (?P<note>.*))?",
    re.DOTALL,
)

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
    """A letter with a hat is a letter and a sign behind it."""
    parts = re.split(rf"(\w{HAT})", text)
    return "".join(
        rf"$\hat{{{part[0]}}}$" if part.endswith(HAT) else part.translate(SIGNS) for part in parts
    )
