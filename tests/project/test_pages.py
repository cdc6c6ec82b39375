"""The pages: links within the repository lead somewhere, and command lines are understood."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from experiments.shared import run
from tests.support.paths import DOCS, ROOT

PAGES = [
    *ROOT.glob("*.md"),
    *sorted(DOCS.glob("*.md")),
    ROOT / "experiments" / "distributed_momentum" / "REPORT.md",
]
COMMAND = re.compile(r"python -m (experiments\.[a-z][\w.]*)((?:[^\n`#\\]|\\\n)*)")
# What stands for something else, or for nothing, on a page's command line.
STANDS_FOR = {"FOLDER": "a", "RESULTS": "a", "PATH": "a", "...": None}


def anchors_of(page: Path) -> set[str]:
    """Of a page's headings, as GitHub and MyST name them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", head.lower()).strip() for head in heads)
    return {word.replace(" ", "-") for word in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if not path.startswith(("http:", "https:")):
            there = page.parent / path if path else page
            assert there.exists(), target
            assert not anchor or anchor in anchors_of(there), target


def commands() -> list[str]:
    """All of the pages, each once; a page's own program takes a folder alone, and a name without
    the command that it needs is a mention.
    """
    found: dict[str, None] = {}
    for page in PAGES:
        if page.name != "CHANGELOG.md":  # which names those that are gone, too
            for module, rest in COMMAND.findall(page.read_text()):
                words = shlex.split(rest.replace("\\\n", " "))
                words = [STANDS_FOR.get(word, word) for word in words]
                found[shlex.join([module, *filter(None, words)])] = None
    return [line for line in found if ".page" not in line and line != "experiments.speed"]


@pytest.mark.parametrize("line", commands())
def test_command_lines_are_understood(line, monkeypatch):
    """By the parser, with what they name: nothing is run."""
    monkeypatch.setattr(run, "run_with", lambda given, prepare, execute, **ending: 0)
    module, *arguments = shlex.split(line)
    package = importlib.util.find_spec(module).submodule_search_locations
    assert importlib.import_module(module + ".__main__" * bool(package)).command(arguments) == 0
