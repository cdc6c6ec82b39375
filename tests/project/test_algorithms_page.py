"""The runs on the page about algorithms work as they stand there."""

import re

import numpy as np
import pytest

from tests.support.paths import DOCS

PAGE = (DOCS / "algorithms.md").read_text()
RUNS = dict(re.findall(r"^## ([^\n]+)$.*?^```python$\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def test_every_section_has_its_run():
    assert len(RUNS) == len(re.findall(r"^## ", PAGE, re.MULTILINE)) > 0


@pytest.mark.slower
@pytest.mark.parametrize("section", RUNS)
def test_a_run(section):
    names: dict = {}
    exec(compile(RUNS[section], section, "exec"), names)
    assert np.isfinite(names["metrics"].loss).all()
