"""Rules that try each row on the server's own examples, called by hand."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.aggregators import Root, loss_function_rejection, zeno

N, F, D = 7, 2, 3
RNG = np.random.default_rng(0)
OWN = RNG.normal(size=(5, D)).astype(np.float32)  # what the server holds


def squares(parameters, targets):
    return jnp.mean(jnp.sum(jnp.square(parameters[None] - targets), axis=1)) / 2


@pytest.mark.slower
def test_a_penalty_of_length_alone_leaves_out_the_longest():
    rows = RNG.normal(size=(N, D)).astype(np.float32)
    root = Root(jnp.zeros(D), 0.1, lambda parameters: jnp.float32(0))
    np.testing.assert_array_equal(zeno(rows, F, root=root, penalty=1.0), aggregators.cge(rows, F))


@pytest.mark.slower
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_rows_that_are_no_floats_are_left_out(bad):
    rows = RNG.normal(size=(N, D)).astype(np.float32)
    rows[1] = bad
    root = Root(jnp.zeros(D), 0.1, lambda parameters: squares(parameters, OWN))
    for rule in (zeno, loss_function_rejection):
        assert aggregators.selection_of(rule)(rows, 1, root=root)[1] == 0
        assert np.all(np.isfinite(rule(rows, 1, root=root)))


def test_another_rule_after_the_rejection():
    rows = RNG.normal(size=(N, D)).astype(np.float32)
    rows[3] = 50
    root = Root(jnp.zeros(D), 0.1, lambda parameters: squares(parameters, OWN))
    given = functools.partial(loss_function_rejection, root=root, rule=aggregators.median)
    left = np.flatnonzero(aggregators.selection_of(given)(rows, 2))
    np.testing.assert_array_equal(given(rows, 2), aggregators.median(rows[left], 2))


def test_of_a_pytree_the_loss_is_given_one():
    rows = RNG.normal(size=(N, D)).astype(np.float32)
    tree = {"a": rows[:, :1], "b": rows[:, 1:]}

    def loss(parameters):
        return squares(jnp.concatenate([parameters["a"], parameters["b"]]), OWN)

    root = Root({"a": jnp.zeros(1), "b": jnp.zeros(2)}, 0.1, loss)
    flat = Root(jnp.zeros(D), 0.1, lambda parameters: squares(parameters, OWN))
    got = zeno(tree, F, root=root)
    np.testing.assert_array_equal(jnp.concatenate([got["a"], got["b"]]), zeno(rows, F, root=flat))


def test_somebody_has_to_be_left():
    root = Root(jnp.zeros(D), 0.1, jnp.sum)
    with pytest.raises(ValueError, match="zeno needs n >= 1f"):
        zeno(OWN, 5, root=root)
    with pytest.raises(ValueError, match="loss_function_rejection needs n >= 1f"):
        loss_function_rejection(OWN, 4, root=root)
