"""A mixture is one of its rules in each call, as often as its weight says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz._arrays.calling import asks_for
from simbyz.aggregators import (
    average,
    chain,
    krum,
    median,
    mixture,
    selection_of,
    weighted_median,
)
from simbyz.gossip.rules import gts
from simbyz.preaggregators import bucketing, nearest_neighbor_mixing

ROWS = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
RULES = [average, median, functools.partial(krum, squared=False)]


@pytest.mark.slower
def test_each_draw_is_a_rule_with_its_weights_as_often_as_it_weighs():
    rule = mixture(RULES, [1, 3, 0])

    @jax.jit
    @jax.vmap
    def both(key):
        return rule(ROWS, 2, key=key), selection_of(rule)(ROWS, 2, key=key)

    made, weights = map(np.asarray, both(jax.random.split(jax.random.key(0), 400)))
    apart = np.array([one(ROWS, 2) for one in RULES])
    which = np.argmin(np.abs(made[:, None] - apart).sum(axis=2), axis=1)
    np.testing.assert_allclose(made, apart[which], rtol=1e-6)
    wanted = np.array([selection_of(one)(ROWS, 2) for one in RULES])
    np.testing.assert_allclose(weights, wanted[which], rtol=1e-6)
    # Three deviations of 400 draws, each with probability 3/4.
    assert abs(np.mean(which == 1) - 0.75) < 3 * np.sqrt(0.75 * 0.25 / 400)
    assert not np.any(which == 2)


def test_parts_that_ask_for_a_key_get_one_and_f_is_checked():
    pairs = chain(functools.partial(bucketing, bucket_size=2), median)
    key = jax.random.key(3)
    _, own = jax.random.split(key)
    np.testing.assert_array_equal(mixture([pairs])(ROWS, 2, key=key), pairs(ROWS, 2, key=own))
    with pytest.raises(ValueError, match="krum needs n >= 2f"):
        mixture([median, krum])(ROWS, 4, key=key)
    # As the simulator asks, which then gives it the key of the step.
    assert asks_for(mixture([median]), "key")
    with pytest.raises(TypeError, match="key"):
        mixture([median])(ROWS, 2)


@pytest.mark.slower
def test_pytrees_and_behind_a_preaggregator():
    key = jax.random.key(1)
    rule = chain(nearest_neighbor_mixing, mixture([median]))
    wanted = chain(nearest_neighbor_mixing, median)
    np.testing.assert_allclose(rule(ROWS, 2, key=key), wanted(ROWS, 2), rtol=1e-6)
    tree = {"a": jnp.asarray(ROWS[:, :1]), "b": jnp.asarray(ROWS[:, 1:])}
    made = mixture([median])(tree, 2, key=key)
    np.testing.assert_array_equal(made["b"], median(ROWS, 2)[1:])


def test_weights_may_be_an_array():
    rule = mixture([krum, median], np.array([0.0, 2.0]))
    np.testing.assert_array_equal(rule(ROWS, 2, key=jax.random.key(0)), median(ROWS, 2))


@pytest.mark.parametrize(
    ("rules", "weights", "message"),
    [
        ([], None, "a weight a rule, got 0 and 0"),
        ([median], [1, 2], "a weight a rule, got 1 and 2"),
        ([median, krum], [0, 0], "weights must be finite and at least 0"),
        ([median], [-1], "weights must be finite and at least 0"),
        ([median], [float("nan")], "weights must be finite and at least 0"),
        ([weighted_median], None, "no rule with masses or a state, got weighted_median"),
        ([median, gts], None, "the rule gts of a mixture asks for weights, .* ask for some of key"),
    ],
)
def test_what_is_no_mixture_is_refused(rules, weights, message):
    with pytest.raises(ValueError, match=message):
        mixture(rules, weights)


def test_one_rule_is_no_list_of_rules(unchecked_shapes):
    with pytest.raises(TypeError, match=r"rules must be a list, such as \[median, trimmed_mean\]"):
        mixture(median)
