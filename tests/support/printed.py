"""Tables as they look where they are read."""

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

WIDTH = 100


def printed(prints: Callable[..., Any], *arguments: Any) -> str:
    """The print of `prints(*arguments, console)`: within 100 columns, and nothing of it cut off."""
    text = io.StringIO()
    prints(*arguments, Console(file=text, width=WIDTH))
    assert max(map(len, text.getvalue().splitlines())) <= WIDTH
    assert "…" not in text.getvalue()
    return text.getvalue()
