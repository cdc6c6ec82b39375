"""Settings of the documentation: `sphinx-build -W docs OUT` makes it from docstrings, pages, README
and notebooks.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import copies  # noqa: E402
import markup  # noqa: E402
import rule_pages  # noqa: E402
import sender_pages  # noqa: E402

project = "simbyz"
author = "the authors of simbyz"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
nb_execution_mode = "off"  # they are stored with their outputs
myst_enable_extensions = ["dollarmath"]
templates_path = ["templates"]  # the line below each page
html_theme = "furo"
html_title = "simbyz"
html_show_copyright = False
exclude_patterns = ["build"]
default_role = "code"
autodoc_typehints = "none"  # the docstrings tell shapes, which types can't
autodoc_member_order = "bysource"
autodoc_mock_imports = ["torch"]  # of which the documentation needs nothing
python_use_unqualified_type_names = True
myst_heading_anchors = 3


def setup(app):
    app.connect("builder-inited", lambda app: copies.write(HERE.parent, HERE / "copied"))
    app.connect("source-read", copies.read)
    app.connect("builder-inited", lambda app: rule_pages.write(HERE / "rules"))
    app.connect("builder-inited", lambda app: sender_pages.write(HERE / "senders"))
    app.connect("autodoc-process-docstring", markup.translate, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", markup.skips)
