"""Tables and refusals as they look where they are read."""

import io
from collections.abc import Callable
from typing import Any

from experiments.shared.formats import Printer

WIDTH = 100


def printed(prints: Callable[..., Any], *arguments: Any) -> str:
    """The print of `prints(*arguments, console)`: within 100 columns, and nothing of it cut off."""
    text = io.StringIO()
    prints(*arguments, Printer(file=text, width=WIDTH))
    assert max(map(len, text.getvalue().splitlines())) <= WIDTH
    assert "…" not in text.getvalue()
    return text.getvalue()


def assert_refused(command, arguments, message, tmp_path, capsys):
    """One line that says what is wrong, exit code 2, and nothing written."""
    assert command([*arguments.split(), "--results", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()
