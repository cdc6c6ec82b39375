"""The page: a template, styles, scripts, data and the plotting library, in one file."""

import json
from importlib import resources
from pathlib import Path

from simbyz.records.whole_files import write_whole

SCRIPTS = ("data.js", "filters.js", "heatmap.js", "curves.js", "table.js", "main.js")


def plotly_js() -> str:
    """The source of plotly.js, from the plotly package.

    Raises:
      ModuleNotFoundError: it is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the report needs plotly, which is not installed: pip install '.[report]'"
        ) from error
    return get_plotlyjs()


def write_page(path: Path, content: dict, library: str) -> None:
    """Writes the page whole or not at all.

    Args:
      path: of the page; an earlier one is replaced.
      content: as `gather` gives it.
      library: the source of plotly.js.

    Raises:
      OSError: it can't be written.
    """
    page = _asset("page.html")
    parts = {
        "STYLE": _asset("page.css"),
        "LIBRARY": library,
        # "<" would let a name in the data end the script that holds it.
        "CONTENT": json.dumps(content, separators=(",", ":"), allow_nan=False).replace(
            "<", "\\u003c"
        ),
        "SCRIPT": "\n".join(_asset(name) for name in SCRIPTS),
    }
    for name, text in parts.items():
        head, tail = page.split(f"<!--{name}-->")
        page = head + text + tail
    write_whole(
        path, lambda file: file.write(page.encode()), "page", "; give another with --output"
    )


def _asset(name: str) -> str:
    return (resources.files("experiments.report") / "assets" / name).read_text(encoding="utf-8")
