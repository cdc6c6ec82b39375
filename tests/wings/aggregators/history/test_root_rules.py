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


@pytest.mark.parametrize("scale", [2.0**-66, 2.0**-45, 1.0, 2.0**45, 2.0**66])
def test_a_penalty_is_in_the_units_of_the_rows(scale):
    """L = Σ θ at θ = -x / scale, beside which a penalty counts as much, nothing or all."""
    unit = np.float32(scale)
    rows = unit * RNG.normal(size=(N, D)).astype(np.float32)
    root = Root(jnp.zeros(D), 1 / unit, jnp.sum)
    exact = rows.astype(np.float64) / scale
    scores = -exact.sum(axis=1) + 0.7 * (exact**2).sum(axis=1)
    expected = exact[np.argsort(scores)[: N - F]].mean(axis=0)
    # Beyond, 0.7 / scale² is no float32.
    if 2.0**-60 < scale < 2.0**60:
        got = zeno(rows, F, root=root, penalty=0.7 / scale**2)
        np.testing.assert_allclose(got / unit, expected, rtol=1e-5)
    other = zeno(rows, F, root=root, penalty=min(1.0, 1 / scale))
    scores = -exact.sum(axis=1) + min(scale**2, scale) * (exact**2).sum(axis=1)
    expected = exact[np.argsort(scores)[: N - F]].mean(axis=0)
    np.testing.assert_allclose(other / unit, expected, rtol=1e-5)


def one_by_one(parameters):
    return jnp.sum(jnp.square(parameters), keepdims=True)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("name", ["zeno", "loss_function_rejection", "bant", "fedlaw"])
def test_a_loss_that_is_no_scalar_and_a_root_that_is_none_are_named(name):
    rows = RNG.normal(size=(N, D)).astype(np.float32)
    if name in ("zeno", "loss_function_rejection"):
        call = functools.partial(getattr(aggregators, name), rows, F)
    else:
        rule = aggregators.bant() if name == "bant" else aggregators.fedlaw(1.0)
        call = functools.partial(rule.aggregate, rows, F, state=rule.start(jnp.zeros(D), n=N))
    for loss in (one_by_one, jnp.square):
        with pytest.raises(ValueError, match=r"the loss of root must return a scalar of shape"):
            call(root=Root(jnp.zeros(D), 0.1, loss))
    with pytest.raises(TypeError, match=r"root must be a Root\(parameters, rate, loss\), got None"):
        call(root=None)
    with pytest.raises(ValueError, match="the row given must be floating point"):
        call(root=Root(jnp.zeros(D, int), 0.1, jnp.sum))


def test_a_rule_that_gives_no_row_is_named():
    rows = RNG.normal(size=(N, D)).astype(np.float32)
    root = Root(jnp.zeros(D), 0.1, jnp.sum)
    for rule in (lambda rows, f: rows, lambda rows, f: jnp.sum(rows)):
        with pytest.raises(ValueError, match=r"the rule <lambda> must return an aggregate \(d,\)"):
            loss_function_rejection(rows, 1, root=root, rule=rule)


def test_somebody_has_to_be_left():
    root = Root(jnp.zeros(D), 0.1, jnp.sum)
    with pytest.raises(ValueError, match="zeno needs n >= 1f"):
        zeno(OWN, 5, root=root)
    with pytest.raises(ValueError, match="loss_function_rejection needs n >= 1f"):
        loss_function_rejection(OWN, 4, root=root)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_loss_that_is_not_finite_is_the_worst(bad):
    """Of three rows the last is left out, along which the loss is none."""
    rows = jnp.asarray([[1.0], [2.0], [3.0]])
    root = Root(jnp.zeros(1), 1.0, lambda where: jnp.where(where[0] < -2.5, bad, where[0]))
    np.testing.assert_allclose(zeno(rows, 1, root=root), [1.5])
