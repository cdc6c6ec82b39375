"""Results as they come: a line of JSON each, on the disk before the next is computed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "gpu.jsonl"
# What a line of the terminal shows.
SHOWN = 150

Result = dict[str, Any]


class Journal:
    """The file of results in a folder, which several processes add to one after the other."""

    def __init__(self, folder: Path, common: Mapping[str, Any]) -> None:
        """common: what stands in every line."""
        self.path = folder / FILE
        self.common = dict(common)

    def write(self, result: Mapping[str, Any]) -> None:
        """Adds a line, and prints it, unless it only says that something holds."""
        line = json.dumps(self.common | dict(result), allow_nan=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        if result.get("holds") is True:
            return
        shown = ", ".join(f"{key} {_short(value)}" for key, value in result.items())
        print(f"{self.common.get('part', '')}: {shown}"[:SHOWN], flush=True)


def read(folder: Path) -> list[Result]:
    """All results so far; a line that a killed process left half written is passed over."""
    path, found = folder / FILE, []
    if not path.exists():
        return []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
