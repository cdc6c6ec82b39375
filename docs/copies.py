"""Pages that stand elsewhere in the clone, as files here: README and the like, and the notebooks.

A link from one of them leads to where its file is here, and a link from another page to the copy.
"""

import os
import re
import shutil
from pathlib import Path

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "experiments/distributed_momentum/REPORT.md",
)
FROM_HERE = re.compile(rf"\]\(\.\./({'|'.join(map(re.escape, PAGES))}|notebooks/\w+\.ipynb)")
LINK = re.compile(r"\]\((?!#|\w+:)([^)#]*)")


def write(clone: Path, folder: Path) -> None:
    """Writes `folder` anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for page in PAGES:
        text = (clone / page).read_text(encoding="utf-8")
        there = (clone / page).parent
        text = LINK.sub(lambda found, there=there: f"]({_here(found[1], there, folder)}", text)
        (folder / Path(page).name).write_text(text, encoding="utf-8")
    for notebook in sorted((clone / "notebooks").glob("*.ipynb")):
        shutil.copy(notebook, folder)


def read(app, name: str, source: list[str]) -> None:
    """Changes the text of a page of this folder in place, before it is parsed."""
    if "/" not in name:
        source[0] = FROM_HERE.sub(lambda found: f"](copied/{Path(found[1]).name}", source[0])


def _here(target: str, there: Path, folder: Path) -> str:
    """Where a file that a page in `there` links to is, seen from `folder`."""
    path = Path(os.path.normpath(there / target))
    copy = folder / path.name
    is_copied = path.name in {Path(page).name for page in PAGES} or path.suffix == ".ipynb"
    return os.path.relpath(copy if is_copied else path, folder)
