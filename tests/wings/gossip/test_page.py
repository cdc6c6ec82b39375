"""The page on runs without a server: its Python runs as it stands."""

import re

import pytest

from tests.support.paths import DOCS


@pytest.mark.thorough
def test_the_pages_python_learns():
    text = (DOCS / "without-a-server.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict = {}
    exec(block, names)
    assert all(run.columns["accuracy_worst"][-1] > 0.8 for run in names["runs"])
