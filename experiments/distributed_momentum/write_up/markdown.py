"""Tables in Markdown."""

from collections.abc import Iterable, Mapping


def table(rows: Iterable[Mapping[str, object]]) -> str:
    """A Markdown table of rows with the same keys."""
    rows = list(rows)
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(map(str, row.values())) + " |" for row in rows]
    return "\n".join(lines) + "\n"
