"""Rule and selection are halves of one core, alone and together."""

import functools
import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz._arrays.halves import Halves, core_of, halves, selection_of
from simbyz.aggregators import AGGREGATORS, SELECTIONS, WEIGHTED, together
from simbyz.preaggregators import PREAGGREGATORS

ROWS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
KEY = jax.random.key(0)


def counting():
    """A rule and its selection, and which of its parts were computed."""
    done = []

    def _first(updates, f, *, scale=1.0, key=None):
        """The first row."""
        done.append("core")

        def result():
            done.append("result")
            return scale * updates[0]

        def weights():
            done.append("weights")
            return jnp.zeros(len(updates)).at[0].set(scale)

        return Halves(result, weights)

    return *halves(_first), done


def test_a_half_computes_nothing_of_the_other():
    rule, selection, done = counting()
    rule(ROWS, 2)
    assert done == ["core", "result"]
    selection(ROWS, 2)
    assert done[2:] == ["core", "weights"]


@pytest.mark.parametrize(
    ("of_rule", "of_selection", "cores"),
    [
        ({}, {}, 1),
        ({"scale": 2.0}, {"scale": 2.0}, 1),
        ({"scale": 2.0, "key": KEY}, {"key": KEY, "scale": 2.0}, 1),
        ({"scale": 2.0}, {}, 2),
        ({"scale": 2.0}, {"scale": 3.0}, 2),
        # Of arrays it is not known whether they are equal.
        ({"scale": ROWS[0, 0]}, {"scale": ROWS[1, 0]}, 2),
    ],
)
def test_together_computes_the_core_once_where_both_are_configured_alike(
    of_rule, of_selection, cores
):
    rule, selection, done = counting()
    rule, selection = (
        functools.partial(rule, **of_rule),
        functools.partial(selection, **of_selection),
    )
    aggregate, weights = together(rule, selection)(ROWS, 2, key=KEY, masses=None)
    assert done.count("core") == cores
    np.testing.assert_array_equal(aggregate, rule(ROWS, 2))
    np.testing.assert_array_equal(weights, selection(ROWS, 2))


def test_together_calls_what_are_no_two_halves():
    rule, selection, _ = counting()
    lanes = jax.vmap(rule, in_axes=(0, None))
    assert lanes.__name__ and core_of(lanes) is None
    for one, other in ((lanes, selection), (rule, lambda rows, f: jnp.asarray(rows[0]))):
        rows = ROWS[None] if one is lanes else ROWS
        aggregate, weights = together(one, other)(rows, 2)
        np.testing.assert_array_equal(aggregate, one(rows, 2))
        np.testing.assert_array_equal(weights, other(rows, 2))
    aggregate, weights = together(rule, None)(ROWS, 2)
    np.testing.assert_array_equal(aggregate, ROWS[0])
    assert weights is None


@pytest.mark.parametrize("name", [*AGGREGATORS, *WEIGHTED])
def test_halves_look_like_functions_of_their_own(name):
    rule, selection = getattr(aggregators, name), getattr(aggregators, f"{name}_selection")
    for half, its_name in ((rule, name), (selection, f"{name}_selection")):
        assert half.__name__ == half.__qualname__ == its_name
        assert pickle.loads(pickle.dumps(half)) is half
        assert list(inspect.signature(half).parameters)[:2] == ["updates", "f"]
        assert core_of(half) is rule.core
    assert inspect.signature(rule) == inspect.signature(selection)
    assert "Reference" in rule.__doc__ and name in selection.__doc__


def test_every_rule_has_a_selection():
    assert set(SELECTIONS) == set(AGGREGATORS)
    for name, selection in SELECTIONS.items():
        assert selection is selection_of(AGGREGATORS[name])
        assert selection is getattr(aggregators, f"{name}_selection")


@pytest.mark.slower
def test_the_selection_of_a_configured_rule_is_configured_alike():
    rule = functools.partial(aggregators.multi_krum, m=3)
    weights = selection_of(rule)(ROWS, 2)
    np.testing.assert_array_equal(weights, aggregators.multi_krum_selection(ROWS, 2, m=3))
    with pytest.raises(ValueError, match="selection_of needs a rule made by `halves`, got"):
        selection_of(lambda updates, f: updates[0])


def flops(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


@pytest.mark.slower
@pytest.mark.parametrize("name", ["krum", "bulyan", "median"])
def test_together_costs_less_than_each_alone(name):
    rule, selection = AGGREGATORS[name], SELECTIONS[name]
    rows = jax.ShapeDtypeStruct((11, 40), jnp.float32)
    both = flops(lambda rows: together(rule, selection)(rows, 2), rows)
    assert both <= flops(lambda rows: rule(rows, 2), rows) + flops(
        lambda rows: selection(rows, 2), rows
    )


VECTORS = [*ROWS[:5]]
REFUSED = {
    "a list of vectors": (VECTORS, r"a list of 5, with arrays of shape \(3,\)"),
    "a tuple of vectors": (tuple(VECTORS), "a tuple of 5"),
    "lists of numbers": ([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], r"a list of 3, with .* shape \(\)"),
    "a list of matrices": ([ROWS, ROWS], "a list of 2"),
    "vectors of other lengths": ([ROWS[0], ROWS[1, :2]], "share a leading axis of n workers"),
}
NEEDED = {
    "radius": 1.0,
    "trusted": ROWS[0],
    "bucket_size": 2,
    "masses": np.ones(5),
    "tau": 1.0,
    "factor": 1.0,
    "key": KEY,
}


def needed(function):
    wanted = inspect.signature(function).parameters.values()
    return {
        one.name: NEEDED[one.name]
        for one in wanted
        if one.default is one.empty and one.name in NEEDED
    }


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", [*AGGREGATORS, *WEIGHTED, *PREAGGREGATORS])
def test_a_list_that_could_mean_two_things_is_refused(name, case):
    updates, message = REFUSED[case]
    rule = {**AGGREGATORS, **WEIGHTED, **PREAGGREGATORS}[name]
    for function in (rule, selection_of(rule)):
        with pytest.raises(ValueError, match=message):
            function(updates, 1, **needed(rule))


def test_lists_inside_a_pytree_are_layers():
    tree = {"layers": [ROWS, ROWS]}
    np.testing.assert_array_equal(
        aggregators.median(tree, 2)["layers"][1], aggregators.median(ROWS, 2)
    )
    # Of different shapes, they can be nothing else.
    weights, bias = aggregators.median((ROWS, ROWS[:, 0]), 2)
    assert weights.shape == (3,) and bias.shape == ()
