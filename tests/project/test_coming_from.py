"""The page for those who come from elsewhere: its block runs, its names are there."""

import re

import numpy as np
import pytest

from experiments.from_byzfl.parts import ATTACKS, NOT_HERE, PREAGGREGATORS, RULES
from simbyz import aggregators, attacks, preaggregators
from tests.reference import rules as reference
from tests.support.paths import DOCS

PAGE = (DOCS / "coming-from.md").read_text()


@pytest.mark.slower
def test_the_same_number():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict = {}
    exec(compile(block, "coming-from.md", "exec"), names)
    honest = np.asarray(names["honest"], float)
    row = honest.mean(axis=0) + 1.5 * honest.std(axis=0, ddof=1)
    rows = np.concatenate([honest, [row, row]])
    expected = reference.multi_krum(rows, 2, neighbours=4, m=5)
    np.testing.assert_allclose(names["aggregate"], expected, rtol=1e-6)


def test_its_names_are_there():
    called = set(re.findall(r"`(\w+)\(", PAGE.partition("## One vocabulary")[0]))
    known = {*dir(aggregators), *dir(attacks), *dir(preaggregators)}
    theirs = {*RULES, *PREAGGREGATORS, *ATTACKS, *NOT_HERE, "RobustAggregator"}
    assert called <= known | theirs, called - known - theirs


@pytest.mark.parametrize("name", [*RULES, *PREAGGREGATORS, *ATTACKS])
def test_every_part_of_byzfl_is_on_it(name):
    assert f"`{name}" in PAGE
