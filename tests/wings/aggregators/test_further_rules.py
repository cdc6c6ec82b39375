"""What the laws of all rules do not ask of rules of groups, the medoid, and bounds given."""

import functools
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import HDBSCAN

from simbyz import aggregators
from simbyz.aggregators import selection_of
from simbyz.preaggregators import nearest_neighbor_mixing
from tests.reference import further_rules as reference
from tests.support.compiled import compiled, compiled_gradient, quick_jit
from tests.support.paths import GOLDEN
from tests.support.rules import D, F, N, gaussian_rows

KEY = jax.random.key(3)


@pytest.mark.slower
@pytest.mark.parametrize(("options", "n", "f"), [({"groups": 7, "key": KEY}, N, F), ({}, 3, 1)])
def test_groups_in_any_order(options: dict, n: int, f: int) -> None:
    with jax.enable_x64(True):
        rows = gaussian_rows(1, n).astype(np.float64)
        order = jax.random.permutation(KEY, n).tolist() if "key" in options else None
        expected = reference.median_of_means(rows, f, options.get("groups"), order)
        got = compiled(aggregators.median_of_means, f=f, **options)(rows)
        np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.slower
def test_groups_weigh_what_their_rule_says() -> None:
    rows = gaussian_rows(2)
    rule = functools.partial(
        aggregators.median_of_means, key=KEY, groups=6, rule=aggregators.geometric_median
    )
    weights = compiled(selection_of(rule), f=F)(rows)
    assert np.sum(weights) == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(weights @ rows, compiled(rule, f=F)(rows), rtol=1e-5, atol=1e-6)
    one_each = compiled(aggregators.median_of_means, f=F, groups=N)
    np.testing.assert_array_equal(one_each(rows), compiled(aggregators.median, f=F)(rows))


@pytest.mark.parametrize("groups", [2 * F, N + 1])
def test_groups_out_of_range_are_refused(groups: int) -> None:
    with pytest.raises(ValueError, match=f"2f . 1 <= groups <= n, got groups={groups}"):
        aggregators.median_of_means(gaussian_rows(0), F, groups=groups)


@pytest.mark.slower
def test_the_medoid_is_the_row_that_most_hold() -> None:
    rows = gaussian_rows(4)
    rows[4:] = rows[4]
    rows[0], rows[1] = np.nan, 1e30
    np.testing.assert_array_equal(compiled(aggregators.medoid, f=F)(rows), rows[4])
    np.testing.assert_array_equal(compiled(aggregators.medoid_selection, f=F)(rows), np.eye(N)[4])
    alone = jax.eval_shape(functools.partial(aggregators.medoid, f=0), rows[:1])
    assert alone.shape == (D,)


GIVEN = [
    ("huber_center", {"radius": 0.7, "iterations": 6}),
    ("norm_bounded_mean", {"radius": 0.7}),
    ("filter_l2", {"deviation": 1.2}),
    ("filter_l2", {"deviation": 9.0}),
]


@pytest.mark.parametrize("threshold", [0, 3, 5.0, 100])
def test_coordinates_are_turned_where_too_few_agree(threshold: int | float) -> None:
    rows = gaussian_rows(8).astype(np.float64) + np.array([0.2, -3.0, 0.5])
    rows[0], rows[1, 0] = np.nan, -np.inf
    with jax.enable_x64(True):
        got = compiled(aggregators.robust_learning_rate, f=F, threshold=threshold)(rows)
    expected = reference.robust_learning_rate(rows, F, threshold)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    turned = np.sign(got) != np.sign(rows[2:].mean(axis=0))
    assert np.all(turned) if threshold == 100 else not turned[1]
    weights = compiled(aggregators.robust_learning_rate_selection, f=F)(rows)
    np.testing.assert_allclose(weights, [0, 0] + [0.1] * 10, rtol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize(("name", "options"), GIVEN)
def test_bounds_that_are_given(name: str, options: dict) -> None:
    rule = functools.partial(getattr(aggregators, name), f=F)
    counts = {key: value for key, value in options.items() if key == "iterations"}
    with jax.enable_x64(True):
        run = quick_jit(lambda rows, bounds: rule(rows, **{**bounds, **counts}))
        for bad in (0.5, np.nan, 30.0):
            rows = gaussian_rows(6).astype(np.float64)
            rows[:F] = bad
            for scale in (1.0, 2.0**-300):  # the bounds have the scale of the rows
                bounds = {key: scale * value for key, value in options.items() if key not in counts}
                expected = getattr(reference, name)(rows, F, **options)
                np.testing.assert_allclose(
                    np.asarray(run(scale * rows, bounds)) / scale, expected, rtol=1e-9, atol=1e-12
                )


@pytest.mark.slower
@pytest.mark.parametrize("name", ["huber_center", "norm_bounded_mean", "filter_l2"])
def test_weights_are_the_rule(name: str) -> None:
    rows = gaussian_rows(7)
    rows[:F] = np.inf
    weights = compiled(getattr(aggregators, f"{name}_selection"), f=F)(rows)
    assert np.sum(weights) == pytest.approx(1, rel=1e-6) and not np.any(weights[:F])
    if name != "norm_bounded_mean":
        np.testing.assert_allclose(
            weights[F:] @ rows[F:],
            compiled(getattr(aggregators, name), f=F)(rows),
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize(("name", "options"), GIVEN[1:3])
def test_bounds_below_zero_are_refused(name: str, options: dict) -> None:
    (bound,) = options
    with pytest.raises(ValueError, match=f"{name} needs {bound} >= 0, got {bound}=-1"):
        getattr(aggregators, name)(gaussian_rows(0), F, **{bound: -1.0})


CENTER = np.array([0.3, -0.2, 0.1])
# Rules that keep no box around the honest rows, and are held against their references here.
NEWER = {
    "fed_nga": {},
    "fedseca": {"sparsity": 0.5},
    "lasa": {},
    "flame": {},
    "lfighter": {},
    "sequential_centered_clipping": {"radius": 0.8, "center": CENTER},
    "layerwise_centered_clipping": {"radius": 0.8, "center": CENTER},
}


def configured(name: str) -> Callable:
    return functools.partial(getattr(aggregators, name), f=F, **NEWER[name])


@functools.cache
def all_of_them() -> Callable:
    return quick_jit(lambda rows: {name: configured(name)(rows) for name in NEWER})


@pytest.mark.parametrize("bad", [np.nan, -np.inf, 1e30, [1e30, np.nan, 0.5]])
def test_bad_rows(bad: float | list) -> None:
    with jax.enable_x64(True):
        program = all_of_them()
        rows = gaussian_rows(11).astype(np.float64) + 0.5
        rows[:F] = bad
        for name, got in program(rows).items():
            expected = getattr(reference, name)(rows, F, **NEWER[name])
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.slower
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e30])
def test_derivatives_with_bad_rows_are_finite(bad: float) -> None:
    """Of the options that the laws do not have."""
    rows = gaussian_rows(0)
    rows[:F] = bad
    for name in ("sequential_centered_clipping", "layerwise_centered_clipping"):
        options = NEWER[name]
        found = compiled_gradient(getattr(aggregators, name), f=F, **options)(rows)
        assert np.all(np.isfinite(found)), name


RECORDED = json.loads((GOLDEN / "catalogue.json").read_text())


def theirs(entry: dict, rows: jax.Array) -> jax.Array:
    """What an entry's rule gives here, in the words of these programs."""
    name, options, f = entry["rule"], dict(entry["options"]), RECORDED["f"]
    if name == "gas":
        options["rule"] = lambda rows, f: aggregators.multi_krum(rows, f, m=len(rows) - f)
    if name == "lfighter":
        classes = options["classes"]
        rows = jnp.where(jnp.arange(rows.shape[1])[None] < classes**2, rows, 0)
        neurons = lambda rows: rows[:, : classes**2].reshape(-1, classes, classes)  # noqa: E731
        return aggregators.lfighter_selection(rows, f, neurons=neurons) > 0
    if "clipping" in name:
        options["center"] = np.array(RECORDED["center"])
    rule = functools.partial(getattr(aggregators, name), **options)
    if name in ("lasa", "layerwise_centered_clipping"):
        cuts = np.cumsum(RECORDED["layers"])[:-1].tolist()
        rule = aggregators.in_layers(rule, lambda row: jnp.split(row, cuts))
    return rule(rows, f)


@pytest.mark.slower
def test_the_answers_of_other_programs() -> None:
    """To 1e-10, which two of them add to a norm that they divide by."""
    with jax.enable_x64(True):
        rows = np.array(RECORDED["rows"])
        assert len(RECORDED["entries"]) == 13
        for entry in RECORDED["entries"]:
            got = quick_jit(functools.partial(theirs, entry))(rows)
            np.testing.assert_allclose(got, entry["output"], atol=1e-10, err_msg=str(entry))


def test_the_cluster_is_that_of_hdbscan() -> None:
    with jax.enable_x64(True):
        for seed in range(20):
            rows = np.random.default_rng(seed).normal(0.4, 1, (N, 5))
            rows[:F] = -rows[F]
            cosines = (rows @ rows.T) / np.outer(*[np.linalg.norm(rows, axis=1)] * 2)
            found = HDBSCAN(
                min_cluster_size=N // 2 + 1,
                min_samples=1,
                allow_single_cluster=True,
                metric="precomputed",
                copy=True,
            ).fit(np.maximum(1 - cosines, 0))
            got = compiled(aggregators.flame_selection, f=F)(rows)
            np.testing.assert_array_equal(got > 0, found.labels_ == 0, err_msg=f"{seed}")


def test_noise_is_drawn_in_proportion_to_the_median_norm() -> None:
    rows = np.tile(gaussian_rows(5), (1, 700))
    noisy = quick_jit(functools.partial(aggregators.flame, f=F, noise=0.1))
    still, moved = (noisy(rows, key=key) for key in jax.random.split(KEY))
    norm = np.median(np.linalg.norm(rows, axis=1))
    assert np.std(moved - still) == pytest.approx(0.1 * norm * 2**0.5, rel=0.05)
    silent = compiled(aggregators.flame, f=F, key=KEY)(rows)
    np.testing.assert_array_equal(silent, compiled(aggregators.flame, f=F)(rows))


def test_rows_in_a_random_order_of_buckets_or_coordinates() -> None:
    with jax.enable_x64(True):
        rows = gaussian_rows(9, d=7).astype(np.float64)
        order = np.argsort(jax.random.permutation(KEY, N)).tolist()
        np.testing.assert_allclose(
            compiled(aggregators.sequential_centered_clipping, f=F, key=KEY, bucket_size=5)(rows),
            reference.sequential_centered_clipping(rows, F, bucket_size=5, order=order),
            rtol=1e-12,
        )
        order = jax.random.permutation(KEY, 7).tolist()
        np.testing.assert_allclose(
            compiled(aggregators.gas, f=F, key=KEY, groups=3)(rows),
            reference.gas(rows, F, groups=3, order=order),
            rtol=1e-12,
        )


def test_weights_that_are_found() -> None:
    rows = gaussian_rows(7)
    rows[:F] = 30.0

    @quick_jit
    def both(rows: jax.Array, penalty: float | jax.Array) -> tuple[jax.Array, jax.Array]:
        core = aggregators.autogm.core(rows, F, penalty=penalty)  # type: ignore[attr-defined]
        return core.result(), core.weights()

    # In proportion to distances, which are about 2 here.
    aggregate, weights = both(rows, 2.0 * N)
    assert not np.any(weights[:F]) and np.sum(weights) == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(weights @ rows, aggregate, rtol=1e-5, atol=1e-6)
    # A large penalty lets all weigh alike: nine iterations of the geometric median.
    median = {"smoothing": 1e-9, "iterations": 9, "start": "median"}
    expected = compiled(aggregators.geometric_median, f=F, **median)(rows)
    np.testing.assert_allclose(both(rows, 1e9)[0], expected, rtol=1e-5)
    middle = np.sort(rows, axis=0)[(N - 1) // 2]
    nearest = np.argmin(np.linalg.norm(rows - middle, axis=1))
    np.testing.assert_array_equal(both(rows, 0.0)[1], np.eye(N)[nearest])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda rows: aggregators.gas(rows, F, groups=D + 1), "1 <= groups <= d, got groups=4"),
        (lambda rows: aggregators.fedseca(rows, F, sparsity=1.0), "0 <= sparsity < 1"),
        (lambda rows: aggregators.autogm(rows, F, rounds=0), "rounds >= 1, got rounds=0"),
        (lambda rows: aggregators.autogm(rows, F, penalty=-1.0), "penalty >= 0"),
        (lambda rows: aggregators.flame(rows, F, noise=0.1), "a key for a noise other than 0"),
        (lambda rows: aggregators.lfighter(rows, F, neurons=lambda x: x), r"\(n, c, k\), n=12"),
        (
            lambda rows: aggregators.lfighter(rows, F, neurons=lambda x: x[:, :0, None]),
            r"\(n, c, k\), n=12, got shape \(12, 0, 1\)",
        ),
        (lambda rows: aggregators.lfighter(rows, F, iterations=0), "iterations >= 1"),
        (
            lambda rows: aggregators.sequential_centered_clipping(rows, F, bucket_size=0),
            "bucket_size >= 1, got bucket_size=0",
        ),
    ],
)
def test_options_out_of_range_are_refused(call: Callable, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(lambda: call(gaussian_rows(0)))


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("name", ["gas", "median_of_means", "foundation_fl"])
def test_what_a_rule_within_a_rule_gives_is_a_row(name: str) -> None:
    """One that gives rows, or one number, would be spread over them in silence."""
    rule = getattr(aggregators, name)
    for within in (nearest_neighbor_mixing, lambda rows, f: rows[:, 0], lambda rows, f: rows[0, 0]):
        with pytest.raises(ValueError, match=r"the rule .* must return an aggregate .*of shape \("):
            jax.eval_shape(functools.partial(rule, f=F, rule=within), gaussian_rows(0, d=4))
    with pytest.raises(
        TypeError, match="rule must be a function, such as simbyz.aggregators.median"
    ):
        rule(gaussian_rows(0), F, rule="median")


def test_votes_for_a_sign_that_cancel_elect_none() -> None:
    """In whole numbers: in nths, as 0.3 - 0.1 - 0.2, they would elect what rounding leaves."""
    ties = 0
    for seed in range(40):
        n = (7, 10, 13, 41)[seed % 4]
        rows = np.round(np.random.default_rng(seed).normal(size=(n, 20))).astype(np.float32)
        signs = np.sign(rows).astype(int)
        votes = np.maximum(0, np.sign(signs @ signs.T).sum(axis=1)) @ signs
        got = np.asarray(compiled(aggregators.fedseca, f=1, sparsity=0.0)(rows))
        assert np.all((np.sign(got) == np.sign(votes)) | (got == 0))
        ties += np.sum((votes == 0) & np.any(signs != 0, axis=0))
    assert ties > 10
