"""The page: a frame, the body of its kind, styles, scripts and data, in one file."""

import json
from importlib import resources
from pathlib import Path
from typing import Literal

from experiments.shared.formats import IN_LATEX
from simbyz.records.whole_files import write_whole

Kind = Literal["grid", "sheet"]
# What a script uses stands in those before it.
SCRIPTS: dict[Kind, tuple[str, ...]] = {
    "grid": (
        "base.js",
        "grid/data.js",
        "grid/order.js",
        "filters.js",
        "heat.js",
        "plot.js",
        "table.js",
        "grid/heatmap.js",
        "grid/curves.js",
        "grid/runs.js",
        "grid/main.js",
    ),
    "sheet": ("base.js", "sheet/fields.js", "filters.js", "heat.js", "table.js", "sheet/main.js"),
}


def write_page(path: Path, kind: Kind, title: str, content: dict) -> None:
    """Writes the page whole or not at all, in place of an earlier one.

    Args:
      title: plain text without markup.
      content: as `gather` or `sheets.gather` gives it.

    Raises:
      OSError: it can't be written.
    """
    page = _asset("page.html")
    parts = {
        "TITLE": title,
        "STYLE": _asset("page.css"),
        "BODY": _asset(f"{kind}/body.html"),
        # "<" would let a name in the data end the script that holds it.
        "CONTENT": json.dumps(
            content | {"latex": IN_LATEX}, separators=(",", ":"), allow_nan=False
        ).replace("<", "\\u003c"),
        "SCRIPT": "\n".join(_asset(name) for name in SCRIPTS[kind]),
    }
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text)
    target = path.resolve() if path.is_file() else path  # a link to a page stays one
    write_whole(
        target, lambda file: file.write(page.encode()), "page", "; give another with --output"
    )


def _asset(name: str) -> str:
    return (resources.files("experiments.report") / "assets" / name).read_text(encoding="utf-8")
