"""The documentation is made from the docstrings without a warning, with a page for each rule."""

import importlib
import inspect
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simbyz.aggregators import AGGREGATORS
from simbyz.simulator import workers
from tests.support.paths import ROOT

pytestmark = pytest.mark.slower

# As `python -m sphinx`, with fewer places in the pictures of rules. All rules and senders are
# traced, and only some computed and drawn: what they give is compared elsewhere.
SPHINX = """
import functools, shutil, sys
import jax
from sphinx.cmd.build import main
sys.path.insert(0, "docs")
import rule_pictures, sender_pictures
draw, draw_sender = rule_pictures.draw, sender_pictures.draw
stacks = jax.ShapeDtypeStruct((9, rule_pictures.N, 2), "float32")

def draw_some(name, path):
    if name in ("average", "krum", "centered_clipping", "fltrust"):
        return draw(name, path)
    result = jax.eval_shape(functools.partial(rule_pictures.aggregates, name), stacks)
    assert result.shape == (9, 2)
    shutil.copy(path.with_stem("average"), path)

def draw_some_senders(name, path):
    if name in ("top_k", "feedback"):
        return draw_sender(name, path)
    shown = functools.partial(sender_pictures.held_by_the_server, sender_pictures.SHOWN[name])
    assert [one.shape for one in jax.eval_shape(shown)] == [(sender_pictures.STEPS, 8)] * 2
    shutil.copy(path.with_stem("top_k"), path)

rule_pictures.PLACES, rule_pictures.draw = 9, draw_some
sender_pictures.draw = draw_some_senders
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    """The built pages. From a copy, since pictures and pages of rules are made beside the text."""
    folder = tmp_path_factory.mktemp("docs")
    made = shutil.ignore_patterns("rules", "senders", "copied", "results")
    for path in ("docs", "notebooks"):
        shutil.copytree(ROOT / path, folder / path, ignore=made)
    report = "experiments/distributed_momentum/REPORT.md"
    (folder / report).parent.mkdir(parents=True)
    shutil.copy(ROOT / report, folder / report)
    for path in ROOT.glob("[A-Z]*"):  # README, LICENSE and the like
        shutil.copy(path, folder)
    command = [sys.executable, "-c", SPHINX, "-W", "--keep-going", "-q", "docs", "pages"]
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


PACKAGES = "aggregators attacks data data.partition gossip preaggregators records simulator "
PACKAGES += "simulator.workers sweeps tasks theory"


@pytest.mark.parametrize("package", [f"simbyz.{name}" for name in PACKAGES.split()])
def test_what_a_package_exports_is_in_it(pages, package):
    """At its own place, or at that of the module that has it."""
    texts = [page.read_text() for page in pages.rglob("*.html")]
    shown = set(itertools.chain(*(re.findall(r'id="(simbyz\.[\w.]+)"', text) for text in texts)))
    module = importlib.import_module(package)
    for name, value in ((name, getattr(module, name)) for name in exported(module)):
        if inspect.isfunction(value) or inspect.isclass(value):
            places = {f"{package}.{name}", f"{value.__module__}.{value.__qualname__}"}
            assert places & shown, f"{package}.{name}"


def exported(module) -> list[str]:
    own = [name for name in vars(module) if not name.startswith("_")]
    at = [getattr(getattr(module, name), "__module__", "") or "" for name in own]
    inside = [name for name, where in zip(own, at, strict=True) if module.__name__ in where]
    return getattr(module, "__all__", inside)


def test_pages_that_stand_elsewhere_and_notebooks(pages):
    """With the pictures that they show, and links to where a page is here."""
    readme = (pages / "copied" / "README.html").read_text()
    for target in ("getting-started", "extending", "your-own-problem"):
        assert f'href="../{target}.html"' in readme
    assert 'href="REPORT.html"' in readme and "digits-accuracy.png" in readme
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = (pages / "copied" / f"{notebook.stem}.html").read_text()
        assert "_images/" in page or 'src="data:image/png' in page, notebook.stem


def test_every_page_says_which_names_are_stable(pages):
    for page in ("index", "getting-started", "copied/README", "reference/simulator", "rules/krum"):
        assert "stability.html" in (pages / f"{page}.html").read_text(), page
