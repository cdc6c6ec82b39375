"""The page on extending: its blocks run as they stand, and are as short as it says."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.aggregators import average
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.sweeps import Lane, sweep
from simbyz.tasks import classification
from tests.support.paths import DOCS

PAGE = DOCS / "extending.md"


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_short(blocks):
    *own, loop = [sum(map(bool, block.splitlines())) for block in blocks]
    assert len(own) == 9
    assert max(own) < 15
    assert loop < 20


def learns_the_table(names) -> bool:
    """Whether the float inputs of the page, by its linear model, are told apart."""
    task = classification(names["table"], names["Linear"](num_classes=2), batch_size=16)
    config = Config(n=3, f=0, momentum_at=(), evaluate_every=None, study=False)
    lane = Lane(1, Hyperparameters(learning_rate=0.5))
    simulator = make_simulator(config, task, average, None)
    (result,) = sweep(simulator, [lane], task.data, steps=60, width=1)
    return result.columns["accuracy"][-1] > 0.9


@pytest.mark.slower
def test_they_run_one_after_the_other(blocks):
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    midhinge, shout = names["midhinge"], names["shout"]
    stack = jnp.array([[1.0], [2.0], [4.0], [jnp.nan]])
    np.testing.assert_array_equal(midhinge(stack, f=1), [3.0])
    with pytest.raises(ValueError, match=r"midhinge needs n >= 2f \+ 1, got n=4, f=2"):
        midhinge(stack, f=2)
    nearest, selection = names["nearest_to_midhinge"], names["nearest_to_midhinge_selection"]
    assert nearest(stack, 1) == 2 and (selection(stack, 1) == jnp.array([0, 1, 0, 0])).all()
    rows = np.asarray(shout(names["jax"].random.key(1), jnp.ones((7, 3)), 5, loudness=4.0))
    assert rows.shape == (5, 3) and (rows <= 0).all() and (rows >= -4).all()
    assert (rows == rows[:, :1]).all()  # along the mean
    assert [result.columns["accuracy"][-1] > 0.9 for result in names["results"]] == [True, True]
    told = names["results"][1].columns["farthest"]
    assert np.isfinite(told[:-1]).all() and (told[:-1] > 0).all() and np.isnan(told[-1])
    assert learns_the_table(names)
    np.testing.assert_allclose(names["params"], np.ones(4), atol=0.02)
