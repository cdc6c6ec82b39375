"""Files that a command writes at its end, whole or not at all: an OSError names what can't be
written, by its path.
"""

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from simbyz.records.whole_files import write_whole

PNG = b"\x89PNG\r\n\x1a\n"  # what such a file begins with


def save_figure(figure: Figure, path: Path, *, source: str | None = None, **options: Any) -> None:
    """A picture of the kind that its path ends in.

    Args:
      source: a digest of all that the picture is drawn from, kept in the file for `is_drawn`.
      options: of `savefig`.
    """
    options = {"format": path.suffix[1:]} | options
    if source is not None:
        options["metadata"] = {"Keywords": source}
    write_whole(path, lambda file: figure.savefig(file, **options), "picture")


def save_figures(
    figures: Iterable[tuple[str, Figure]],
    folder: Path,
    kinds: Sequence[str] = ("png",),
    dpi: float = 110,
) -> list[Path]:
    """Pictures by their names, each in a file of each of the kinds; returns the files."""
    paths = []
    for name, figure in figures:
        for kind in kinds:
            paths.append(folder / f"{name}.{kind}")
            save_figure(figure, paths[-1], dpi=dpi)
    return paths


def is_drawn(path: Path, source: str) -> bool:
    """Whether `save_figure` wrote the file from this source, and it is whole: of a PDF, whether its
    end is there.
    """
    if not path.is_file():
        return False
    content = path.read_bytes()
    whole = content.rstrip().endswith(b"%%EOF") if path.suffix == ".pdf" else _is_png(content)
    return whole and source.encode() in content


def _is_png(content: bytes) -> bool:
    """Whether all chunks of a PNG are there, by their checksums."""
    at, kind = len(PNG), b""
    while content.startswith(PNG) and kind != b"IEND" and at < len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4])
        kind = content[at + 4 : at + 8]
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4]):
            return False
        at = end + 4
    return kind == b"IEND"


def save_table(table: pd.DataFrame, path: Path) -> Path:
    """A table as CSV, without its index; returns the path."""
    write_whole(path, lambda file: file.write(table.to_csv(index=False).encode()), "table")
    return path


def save_text(text: str, path: Path) -> None:
    """A text in UTF-8."""
    write_whole(path, lambda file: file.write(text.encode()), "page")
