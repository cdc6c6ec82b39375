"""Files that a command writes at its end: whole or not at all, and an error names the path."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from simbyz.records.whole_files import write_whole


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """A picture of the kind that its path ends in; `options` are of `savefig`.

    Raises:
      OSError: it can't be written.
    """
    options = {"format": path.suffix[1:]} | options
    write_whole(path, lambda file: figure.savefig(file, **options), "picture")


def save_table(table: pd.DataFrame, path: Path) -> None:
    """A table as CSV, without its index.

    Raises:
      OSError: it can't be written.
    """
    write_whole(path, lambda file: file.write(table.to_csv(index=False).encode()), "table")


def save_text(text: str, path: Path) -> None:
    """A text in UTF-8.

    Raises:
      OSError: it can't be written.
    """
    write_whole(path, lambda file: file.write(text.encode()), "page")
