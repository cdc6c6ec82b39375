"""The documentation is made from the docstrings without a warning, with a page for each rule."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simbyz.aggregators import AGGREGATORS
from simbyz.simulator import workers
from tests.support.paths import DOCS

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    """The built pages. From a copy, since pictures and pages of rules are made beside the text."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("rules", "senders"))
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", "pages"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "pages"


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_rule_has_its_page(pages, name):
    page = (pages / "rules" / f"{name}.html").read_text()
    assert f'id="simbyz.aggregators.{name}"' in page
    assert f'id="simbyz.aggregators.{name}_selection"' in page
    assert f"{name}.png" in page
    assert "Raises" in page and "Cost" in page and "Reference" in page and "Convention" in page


# Kinds and parts of a chain, which the pages around tell of.
NO_SENDER = {"Compressor", "Sender", "Sent", "chain", "optax_sender", "normalised", "epsilon"}
NO_SENDER |= {"by_chance", "until", "every"}


@pytest.mark.parametrize("name", sorted(set(workers.__all__) - NO_SENDER))
def test_a_sender_has_its_page(pages, name):
    page = (pages / "senders" / f"{name}.html").read_text()
    assert f'id="simbyz.simulator.workers.{name}"' in page
    assert f'alt="what the server holds by {name}"' in page and "Reference" in page


def test_what_is_called_is_in_it(pages):
    inventory = (pages / "genindex.html").read_text()
    for name in ("make_simulator", "sweep", "read_runs", "gradient_ascent", "z_max", "dirichlet"):
        assert f"{name}()" in inventory
