"""The page for those who come from elsewhere: its block runs, its names are there."""

import re
from statistics import NormalDist

import jax
import jax.numpy as jnp
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
    called = set(re.findall(r"`(\w+)\(", PAGE.partition("## Names of Blades")[0]))
    known = {*dir(aggregators), *dir(attacks), *dir(preaggregators)}
    theirs = {*RULES, *PREAGGREGATORS, *ATTACKS, *NOT_HERE, "RobustAggregator"}
    assert called <= known | theirs, called - known - theirs


@pytest.mark.parametrize("name", [*RULES, *PREAGGREGATORS, *ATTACKS])
def test_every_part_of_byzfl_is_on_it(name):
    assert f"`{name}" in PAGE


def scores(rows, neighbours):
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)
    return np.sort(squares, axis=1)[:, 1 : neighbours + 1].sum(axis=1)


def one_by_one(rows, f):
    """Bulyan as Flower has it."""
    left, picked = list(range(len(rows))), []
    for _ in range(len(rows) - 2 * f):
        best = np.argmin(scores(rows[left], max(1, len(left) - f - 2)))
        picked.append(left.pop(int(best)))
    chosen = rows[picked]
    order = np.argsort(np.abs(chosen - np.median(chosen, axis=0)), axis=0)
    return np.take_along_axis(chosen, order[: len(rows) - 4 * f], axis=0).mean(axis=0)


@pytest.mark.parametrize(("n", "f"), [(11, 2), (12, 2)])
def test_rows_of_the_libraries_that_were_read(n, f):
    rows = np.random.default_rng(n).normal(size=(n, 5))

    def best(neighbours, count):
        return rows[np.argsort(scores(rows, neighbours))[:count]].mean(axis=0)

    ordered = np.sort(rows, axis=0)
    near = np.argsort(np.abs(rows - ordered[(n - 1) // 2]), axis=0)[: n - f]
    mean, deviation = rows.mean(axis=0), rows.std(axis=0, ddof=1)
    share = (n - f - (n // 2 + 1 - f)) / (n - f)
    with jax.enable_x64(True):
        x, key = jnp.asarray(rows), jax.random.key(0)
        z = attacks.z_max(n, f)
        pairs = [
            (aggregators.median(x, midpoint=True), np.median(rows, axis=0)),
            (aggregators.median(x), ordered[(n - 1) // 2]),
            (aggregators.trimmed_mean(x, f), ordered[f : n - f].mean(axis=0)),
            (aggregators.krum(x, f), best(n - f - 2, 1)),
            (aggregators.krum(x, f, neighbours=n - f - 1), best(n - f - 1, 1)),
            (aggregators.multi_krum(x, f, m=4), best(n - f - 2, 4)),
            (aggregators.multi_krum(x, f, neighbours=n - f - 1, m=4), best(n - f - 1, 4)),
            (aggregators.meamed(x, f), np.take_along_axis(rows, near, axis=0).mean(axis=0)),
            (attacks.inner_product_manipulation(key, x, f, tau=2.0)[0], -2 * mean),
            (
                attacks.a_little_is_enough(key, x, f, factor=z)[0],
                mean + NormalDist().inv_cdf(share) * deviation,
            ),
        ]
        if n % 2:  # else the middle is another
            pairs.append((aggregators.bulyan(x, f), one_by_one(rows, f)))
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
        moved = aggregators.multi_krum(x + 3, f, m=4)
        np.testing.assert_allclose(moved, aggregators.multi_krum(x, f, m=4) + 3, rtol=1e-12)
