"""Rules that look at each layer alone: on a pytree, and in the rows of a run."""

import functools
import itertools

import jax
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.aggregators import Root, chain, in_layers, krum, layerwise, selection_of, zeno
from simbyz.preaggregators import nearest_neighbor_mixing
from tests.reference import further_rules as reference
from tests.support.compiled import compiled, quick_jit
from tests.support.rules import gaussian_rows

N, F, SIZES = 11, 3, {"a": 4, "b": 3, "c": 2}
CUTS = [*np.cumsum([0, *SIZES.values()])]
LAYERS = [list(range(low, high)) for low, high in itertools.pairwise(CUTS)]
CENTER = np.linspace(-0.4, 0.6, CUTS[-1])
CONFIGURED = [
    ("lasa", {"sparsity": 0.5, "norm_bound": 1.5}),
    ("layerwise_centered_clipping", {"radius": 0.8, "iterations": 2, "center": CENTER}),
    ("layerwise_centered_clipping", {}),
]


def parts(rows):
    """The layers of rows (n, d), or of one row (d,)."""
    return {
        name: rows[..., layer] for name, layer in zip(SIZES, map(np.array, LAYERS), strict=True)
    }


@pytest.mark.parametrize(("name", "options"), CONFIGURED)
@pytest.mark.parametrize("bad", [0.5, np.nan, pytest.param(1e30, marks=pytest.mark.slower)])
def test_layers_are_the_references(name, options, bad):
    rows = gaussian_rows(3, N, CUTS[-1]).astype(np.float64) + 0.3
    rows[:2], rows[2, :4] = bad, 40.0
    rule = functools.partial(getattr(aggregators, name), **options)
    expected = getattr(reference, name)(rows, F, layers=LAYERS, **options)
    with jax.enable_x64(True):
        aggregate, of_rows, weights = quick_jit(
            lambda rows: (
                rule(parts(rows), F),
                in_layers(rule, parts)(rows, F),
                selection_of(in_layers(rule, parts))(rows, F),
            )
        )(rows)
        aggregate, of_rows, weights = jax.tree.map(np.asarray, (aggregate, of_rows, weights))
    np.testing.assert_allclose(of_rows, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(np.concatenate([*aggregate.values()]), of_rows)
    np.testing.assert_allclose(np.sum(weights), 1, rtol=1e-6)
    if np.isnan(bad):
        assert not np.any(weights[:2])


def test_a_rule_of_each_layer_in_rows():
    rows = gaussian_rows(1, N, CUTS[-1])
    rule = in_layers(layerwise(krum), parts)
    of_part = compiled(krum, f=F)
    expected = np.concatenate([of_part(part) for part in parts(rows).values()])
    np.testing.assert_array_equal(compiled(rule, f=F)(rows), expected)
    with pytest.raises(ValueError, match="needs a rule made by `halves`"):
        selection_of(rule)
    whole = in_layers(functools.partial(krum, squared=False), parts)
    alone = compiled(krum, f=F, squared=False)(rows)
    np.testing.assert_array_equal(compiled(whole, f=F)(rows), alone)


@pytest.mark.parametrize("form", ["rows", "a tree", "a tree and a row"])
def test_of_a_trusted_row_each_layer_has_its_own_part(form):
    """As a run gives it, (d,), or like the aggregate."""
    rows = gaussian_rows(4, N, CUTS[-1])
    trusted = CENTER.astype(np.float32)
    expected = []
    for layer in LAYERS:
        own, goal = rows[:, layer].astype(np.float64), CENTER[layer]
        lengths = np.linalg.norm(own, axis=1, keepdims=True)
        trust = np.maximum(own @ goal[:, None] / lengths, 0)
        sizes = np.linalg.norm(goal) / lengths
        expected.append(np.sum(trust * sizes * own, axis=0) / trust.sum())
    rule = layerwise(aggregators.fltrust)
    if form == "rows":
        got = in_layers(rule, parts)(rows, F, trusted=trusted)
    else:
        given = parts(trusted) if form == "a tree" else trusted
        made = rule(parts(rows), F, trusted=given)
        got = np.concatenate([made[name] for name in SIZES])
    np.testing.assert_allclose(got, np.concatenate(expected), rtol=1e-5, atol=1e-6)


def test_a_rule_in_layers_tries_rows_on_the_servers_loss_of_rows():
    """In a run the root's parameters are a row (d,), and so are those that its loss is of."""
    rows, at = gaussian_rows(2, N, CUTS[-1]), np.full(CUTS[-1], 0.3, np.float32)
    goal = np.linspace(-1, 1, CUTS[-1]).astype(np.float32)
    root = Root(at, 0.5, lambda row: jax.numpy.sum((row - goal) ** 2))
    losses = [np.sum((at - 0.5 * row - goal) ** 2) for row in rows]
    kept = np.sort(np.argsort(losses)[: N - F])
    for rule in (zeno, chain(zeno)):
        got = in_layers(rule, parts)(rows, F, root=root)
        np.testing.assert_allclose(got, rows[kept].mean(0), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "updates", "words"),
    [
        (
            lambda: in_layers(nearest_neighbor_mixing, parts),
            gaussian_rows(0, N, CUTS[-1]),
            r"of leaves \[\(4,\), \(3,\), \(2,\)\], nearest_neighbor_mixing made \[\(11, 4\)",
        ),
        (
            lambda: in_layers(lambda updates, f: 0.0, parts),
            gaussian_rows(0, N, CUTS[-1]),
            r"<lambda> made \[\(\)\]",
        ),
        (
            lambda: in_layers(krum, parts),
            parts(gaussian_rows(0, N, CUTS[-1])),
            r"rows, one array \(n, d\), got \[\(11, 4\), .*of a pytree krum sees the layers",
        ),
        (lambda: layerwise(zeno), None, "layerwise can't give zeno the root that it asks for"),
    ],
)
def test_what_is_no_rule_of_rows_in_layers_is_refused(make, updates, words):
    with pytest.raises(ValueError, match=words):
        make()(updates, F)


@pytest.mark.parametrize("rule", [aggregators.lasa, layerwise(krum)])
@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (lambda row: {"a": row[:4], "b": row[5:]}, "got 8 of d = 9 numbers: give simu"),
        (lambda row: {"a": row[:4], "b": row[3:]}, "got 10 of d = 9 numbers"),
        (lambda row: {"b": row[:4], "a": row[4:]}, "got another order"),
    ],
)
def test_layers_that_are_not_the_row_again_are_refused(rule, layers, words):
    with pytest.raises(ValueError, match=words):
        in_layers(rule, layers)(gaussian_rows(0, N, CUTS[-1]), F)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity": 1.0}, "0 <= sparsity < 1, got sparsity=1.0"),
        ({"norm_bound": -1.0}, "norm_bound >= 0, got norm_bound=-1.0"),
        ({"sign_bound": float("nan")}, "sign_bound >= 0"),
    ],
)
def test_wrong_bounds_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        aggregators.lasa(gaussian_rows(0), 2, **options)
