"""A rule layer by layer is the rule on each leaf."""

import functools
import inspect

import jax
import numpy as np
import pytest

from simbyz.aggregators import chain, dnc, krum, krum_selection, layerwise, median, selection_of
from simbyz.preaggregators import clipping
from tests.support.compiled import compiled, quick_jit

N, F = 12, 2
ROWS = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
TREE = {"a": ROWS[:, 0], "b": ROWS[:, 1:].reshape(N, 2, 2)}


@pytest.mark.slower
@pytest.mark.parametrize("rule", [median, krum, functools.partial(krum, squared=False)])
def test_each_leaf_alone(rule):
    alone, by_layer = compiled(rule, f=F), compiled(layerwise(rule), f=F)
    result = by_layer(TREE)
    np.testing.assert_array_equal(result["a"], alone(TREE["a"][:, None])[0])
    np.testing.assert_array_equal(result["b"].ravel(), alone(ROWS[:, 1:]))
    np.testing.assert_array_equal(by_layer(ROWS), alone(ROWS))


@pytest.mark.slower
def test_options_pass_on_and_are_asked_for():
    rule = layerwise(dnc)
    assert inspect.signature(rule) == inspect.signature(dnc)
    key = jax.random.key(0)
    result = compiled(rule, f=F, key=key, sample=2)(TREE)
    alone = compiled(dnc, f=F, key=key, sample=2)(ROWS[:, 1:])
    np.testing.assert_array_equal(result["b"].ravel(), alone)


def test_of_a_selection_each_leaf_has_weights():
    weights = jax.eval_shape(lambda tree: layerwise(krum_selection)(tree, F), TREE)
    assert {name: leaf.shape for name, leaf in weights.items()} == {"a": (N,), "b": (N,)}
    with pytest.raises(ValueError, match="selection_of needs a rule"):
        selection_of(layerwise(krum))


@pytest.mark.slower
def test_a_chain_layer_by_layer_and_a_layerwise_rule_in_a_chain():
    part = functools.partial(clipping, radius=1.5)

    @quick_jit
    def both(tree):
        by_layer, in_chain = layerwise(chain(part, krum)), chain(part, layerwise(krum))
        return [
            (by_layer(tree, F)["a"], krum(part(tree["a"][:, None]), F)[0]),
            (in_chain(tree, F)["a"], krum(part(tree)["a"][:, None], F)[0]),
        ]

    for result, by_hand in both(TREE):
        np.testing.assert_array_equal(result, by_hand)
