"""The rules of center.py, clustering.py, filters.py, spectral.py and trust.py, beside the laws of
all rules.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz._arrays import geometry
from simbyz.aggregators import AGGREGATORS, SELECTIONS
from tests.support.compiled import compiled, compiled_gradient, compiled_lanes, quick_jit
from tests.support.rules import RULES, refer

# In the default suite, the laws have all these rules; with all optimisations, among the longer
# checks, the laws of references have them.
pytestmark = pytest.mark.slower

N, F, D = 11, 3, 40
KEY = jax.random.key(0)


def gaussian_rows(seed: int = 0, n: int = N, d: int = D) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


TRUSTED = gaussian_rows(99).mean(axis=0) + 0.3

# Ways to call each rule on (N, D) rows.
CONFIGURED = [
    ("geometric_median", {}),
    ("geometric_median", {"start": "mean", "iterations": 5}),
    ("geometric_median", {"start": "median", "smoothing": 6.5}),
    ("centered_clipping", {"radius": 5.0}),
    ("centered_clipping", {"radius": 2.0, "iterations": 3, "center": TRUSTED}),
    ("caf", {}),
    ("dnc", {"key": KEY}),
    ("dnc", {"key": KEY, "sample": 7}),
    ("cge", {}),
    ("aksel", {}),
    ("aksel", {"mode": "n-f"}),
    ("monna", {"index": 4}),
    ("faba", {}),
    ("fltrust", {"trusted": TRUSTED}),
    ("signguard", {}),
    ("signguard", {"sample": 9, "key": KEY}),
    ("foundation_fl", {}),
    ("foundation_fl", {"m": 2, "rule": aggregators.median}),
    ("clipped_clustering", {}),
    ("clipped_clustering", {"linkage": "single"}),
    ("clipped_clustering", {"history": np.array([4.0, np.nan, 5.0, np.inf])}),
]
NAMES = [f"{i}-{name}" for i, (name, _) in enumerate(CONFIGURED)]
every_configuration = pytest.mark.parametrize("name, options", CONFIGURED, ids=NAMES)
every_number = pytest.mark.parametrize("number", range(len(CONFIGURED)), ids=NAMES)


def in_table(name: str, options: dict) -> bool:
    """Do tests/wings/aggregators/laws have the rule, called in this way?"""
    return any(name == rule.name and str(options) == str(rule.options) for rule in RULES)


not_in_table = pytest.mark.parametrize(
    "name, options", [row for row in CONFIGURED if not in_table(*row)]
)


def jitted(name: str, options: dict) -> Callable:
    return compiled(AGGREGATORS[name], f=F, **options)


@functools.cache
def both(number: int) -> Callable:
    """A configuration's rule and its weights, in one program: most of the two is the same."""
    name, options = CONFIGURED[number]
    rule, selection = AGGREGATORS[name], SELECTIONS[name]
    return quick_jit(lambda rows: (rule(rows, F, **options), selection(rows, F, **options)))


@not_in_table
def test_results_are_the_references(name: str, options: dict) -> None:
    """Of the options that the laws do not have."""
    with jax.enable_x64(True):
        rule = jitted(name, options)
        for seed in range(5):
            rows = gaussian_rows(seed) + 0.2
            # One liar far away, one of another size, and two who send the same.
            rows[3] *= -20
            rows[5] *= 1e-3
            rows[6] = rows[7]
            expected = refer(name, options, rows, F)
            np.testing.assert_allclose(rule(rows), expected, rtol=1e-9, atol=1e-11, err_msg=seed)


@pytest.mark.thorough
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("move", [0.0, 1e-2, 1.0])
@pytest.mark.parametrize("onto_a_row", [False, True])
def test_distances_to_a_moved_centre_keep_their_digits(
    offset: float, move: float, onto_a_row: bool
) -> None:
    shared = offset * gaussian_rows(1, 1)
    rows = (gaussian_rows() + shared).astype(np.float32)
    rows[3], rows[4, 5], rows[5] = np.nan, np.inf, 1e30
    first = (gaussian_rows(2, 1) + shared)[0].astype(np.float32)
    way = move * gaussian_rows(3, 1)[0]
    center = (rows[7] if onto_a_row else first) + way.astype(np.float32)
    good = np.delete(np.arange(N), [3, 4, 5])
    expected = np.sum((rows[good].astype(np.float64) - center) ** 2, axis=1)
    reached = geometry.Reached(first, geometry.squared_distances_to(first, rows))
    for known in (None, reached):
        got, unit = jax.jit(geometry.squared_distances_to)(center, rows, known)
        squares = np.float64(got) / np.float64(unit) ** 2
        np.testing.assert_allclose(squares[good], expected, rtol=2e-5)
        assert not np.isfinite(squares[[3, 4]]).any() and not squares[5] < 9e59


@pytest.mark.thorough
def test_distances_from_far_away() -> None:
    """Rows have no square in float32, but their distances to a centre amid them have one."""
    rows = (1e20 + 1e15 * gaussian_rows()).astype(np.float32)
    center = rows[0] + np.float32(1e16)
    expected = np.sum((rows.astype(np.float64) - center) ** 2, axis=1)
    got, unit = geometry.squared_distances_to(center, rows)
    np.testing.assert_allclose(np.float64(got) / np.float64(unit) ** 2, expected, rtol=1e-5)
    median = aggregators.geometric_median(rows, F, start="median", iterations=20)
    assert np.all(np.abs(median - 1e20) < 1e16)


@every_number
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e38])
def test_bad_rows_have_no_weight(number: int, bad: float) -> None:
    """In float32, where 1e38 has no square; a bad coordinate is enough."""
    rows = (gaussian_rows() + 0.2).astype(np.float32)
    rows[[0, 7]] = bad
    rows[9, 2] = bad
    good = np.delete(rows, [0, 7, 9], axis=0)
    result, weights = map(np.asarray, both(number)(rows))
    assert np.all(np.isfinite(result))
    assert np.all(np.abs(result) <= np.abs(good).max() + np.abs(TRUSTED).max())
    if CONFIGURED[number][0] == "foundation_fl":
        return  # its rule sees all rows
    np.testing.assert_array_equal(weights[[0, 7, 9]], 0)
    assert np.sum(weights) == pytest.approx(1, rel=1e-6)


@every_number
def test_weights_sum_to_one(number: int) -> None:
    for seed in range(5):
        weights = np.asarray(both(number)(gaussian_rows(seed))[1])
        assert weights.shape == (N,)
        assert np.all(weights >= 0)
        assert np.sum(weights) == pytest.approx(1, rel=1e-6)


MEANS = ("geometric_median", "caf", "dnc", "cge", "aksel", "monna", "faba")


@pytest.mark.parametrize(
    "number", [number for number, (name, _) in enumerate(CONFIGURED) if name in MEANS]
)
def test_weighted_rows_are_the_aggregate(number: int) -> None:
    rows = gaussian_rows().astype(np.float32)
    expected, weights = both(number)(rows)
    np.testing.assert_allclose(weights @ rows, expected, rtol=1e-4, atol=1e-6)


def test_weighted_and_rescaled_rows_are_the_aggregate() -> None:
    rows = gaussian_rows().astype(np.float32) + 0.2
    rows[3] *= 2
    norms = np.linalg.norm(rows, axis=1, keepdims=True)

    scaled = rows / norms * np.linalg.norm(TRUSTED)
    aggregate, weights = both(NAMES.index("13-fltrust"))(rows)
    assert_near(weights @ scaled, aggregate)

    clipped = rows * np.minimum(1, np.median(norms) / norms)
    aggregate, weights = both(NAMES.index("14-signguard"))(rows)
    assert_near(weights @ clipped, aggregate)

    options = {"m": 4, "rule": aggregators.average}
    weights = compiled(aggregators.foundation_fl_selection, f=F, **options)(rows)
    assert_near(weights @ rows, compiled(aggregators.foundation_fl, f=F, **options)(rows))

    factors = np.minimum(1, 2.0 / norms[:, 0])
    weights = compiled(aggregators.centered_clipping_selection, f=F, radius=2.0)(rows)
    assert_near(weights, factors / factors.sum())


def assert_near(result: jax.Array, expected: jax.Array) -> None:
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)


def test_no_more_is_trusted_than_there_is() -> None:
    rows = gaussian_rows(d=3).astype(np.float32)
    against = np.abs(rows)
    trusted = -np.ones(3, np.float32)
    for function, size in ((aggregators.fltrust, 3), (aggregators.fltrust_selection, N)):
        none = compiled(function, f=F, trusted=trusted)(against)
        np.testing.assert_array_equal(none, np.zeros(size))
    still = compiled(aggregators.centered_clipping_selection, f=F, radius=0.0)(rows)
    np.testing.assert_allclose(still, np.full(N, 1 / N), rtol=1e-6)


def test_an_infinite_radius_has_the_derivative_of_the_mean() -> None:
    rows = gaussian_rows(d=2).astype(np.float32)
    for rule in (aggregators.centered_clipping, aggregators.norm_bounded_mean):
        slope = compiled_gradient(rule, f=F, radius=np.inf)(rows)
        np.testing.assert_allclose(slope, np.full((N, 2), 1 / N), rtol=1e-6)


def test_a_row_of_zeros_has_no_trust_and_no_derivative() -> None:
    """Of two rows along the axes, each is half of what is as long as the trusted update."""
    rows = jnp.asarray([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    trusted = jnp.asarray([3.0, 3.0])
    compute = jax.jit(
        jax.value_and_grad(lambda rows: jnp.sum(aggregators.fltrust(rows, 1, trusted=trusted)))
    )
    value, slope = compute(rows)
    assert float(value) == pytest.approx(np.sqrt(18), rel=1e-6)
    np.testing.assert_array_equal(slope[1], [0, 0])
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize(
    "name, options", [("aksel", {}), ("faba", {}), ("cge", {}), ("caf", {}), ("foundation_fl", {})]
)
def test_more_rows_than_a_sorting_network_takes(name: str, options: dict) -> None:
    with jax.enable_x64(True):
        rows = gaussian_rows(0, 130, 3)
        rows[:5] = 50.0
        result = compiled(AGGREGATORS[name], f=5, **options)(rows)
        np.testing.assert_allclose(result, refer(name, options, rows, 5), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("d", [64, 2**15, 2**15 + 1, 70_000])
def test_aksel_looks_at_every_coordinate_once(d: int) -> None:
    """Chunks of 2^17 values, hence of 26,214 coordinates: the last overlaps the one before."""
    rows = gaussian_rows(0, 5, d).astype(np.float32)
    squares = np.sum((rows.astype(np.float64) - np.median(rows, axis=0)) ** 2, axis=1)
    chosen = np.argsort(squares)[:3]
    np.testing.assert_allclose(
        compiled(aggregators.aksel, f=2)(rows), rows[chosen].mean(axis=0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.usefixtures("unchecked_shapes")
def test_pytrees_have_pytrees_beside_them() -> None:
    rows = gaussian_rows(d=7).astype(np.float32)
    tree = {"a": rows[:, 0], "b": rows[:, 1:].reshape(N, 2, 3)}
    row = rows.mean(axis=0) + 0.1
    beside = {"a": row[0], "b": row[1:].reshape(2, 3)}
    for name, option, others in (
        ("centered_clipping", "center", {"radius": 1.0}),
        ("fltrust", "trusted", {}),
    ):
        rule = quick_jit(functools.partial(AGGREGATORS[name], f=F, **others))
        whole = rule(tree, **{option: beside})
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(whole)])
        assert_near(flat, rule(rows, **{option: row}))
        with pytest.raises(ValueError, match="7 coordinates, the row given 6"):
            rule(tree, **{option: row[1:]})
        # As many numbers, but those of a kernel in another order.
        with pytest.raises(ValueError, match=r"leaves of shapes .*, the row given"):
            rule(tree, **{option: {"a": row[0], "b": row[1:].reshape(3, 2)}})


@not_in_table
def test_derivatives_are_finite_beside_bad_rows(name: str, options: dict) -> None:
    """Of the options that the laws do not have."""
    gradient = compiled_gradient(AGGREGATORS[name], f=F, **options)
    rows = gaussian_rows().astype(np.float32)
    rows[5] = rows[6]
    assert np.all(np.isfinite(gradient(rows)))
    for bad in (np.nan, np.inf, 1e30):
        rows[:F] = bad
        assert np.all(np.isfinite(gradient(rows))), bad
    assert np.all(np.isfinite(gradient(np.zeros_like(rows))))


@pytest.mark.parametrize(
    "number", [number for number, row in enumerate(CONFIGURED) if not in_table(*row)]
)
def test_batches_and_narrow_numbers(number: int) -> None:
    """Of the options that the laws do not have."""
    name, options = CONFIGURED[number]
    rule, alone = AGGREGATORS[name], both(number)
    rows = gaussian_rows().astype(np.float32)
    batch = compiled_lanes(rule, f=F, **options)(np.stack([rows, rows[::-1]]))
    assert_near(batch[0], alone(rows)[0])
    assert_near(batch[1], alone(rows[::-1])[0])
    narrow = jitted(name, options)(rows.astype(jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    wide = alone(rows.astype(jnp.bfloat16).astype(np.float32))[0]
    np.testing.assert_allclose(narrow.astype(np.float32), wide, rtol=2.0**-7, atol=2.0**-7)


def test_radii_and_smoothing_may_be_traced() -> None:
    rows = gaussian_rows().astype(np.float32)
    for rule, option in (
        (aggregators.centered_clipping, "radius"),
        (aggregators.geometric_median, "smoothing"),
    ):
        together = jax.vmap(lambda value, rule=rule, o=option: rule(rows, F, **{o: value}))
        values = jax.jit(together)(jnp.asarray([0.5, 7.0]))
        assert_near(values[1], compiled(rule, f=F, **{option: 7.0})(rows))


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    "name, options, message",
    [
        ("geometric_median", {"iterations": 0}, "iterations >= 1"),
        ("geometric_median", {"start": "median "}, "starts"),
        ("centered_clipping", {"radius": 1.0, "iterations": 0}, "iterations >= 1"),
        ("dnc", {"key": KEY, "sample": 0}, "sample >= 1"),
        ("dnc", {"key": KEY, "c": 4.0}, "c f < n"),
        ("aksel", {"mode": "all"}, "modes"),
        ("monna", {"index": N}, "index < n"),
        ("signguard", {"sample": 3}, "together"),
        ("signguard", {"sample": D + 1, "key": KEY}, "sample <= 40"),
        ("foundation_fl", {"m": -1}, "m >= 0"),
        ("clipped_clustering", {"linkage": "complete"}, "linkages"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict, message: str) -> None:
    for function in (AGGREGATORS[name], SELECTIONS[name]):
        with pytest.raises(ValueError, match=message):
            function(gaussian_rows(), F, **options)


@every_configuration
def test_too_few_rows_are_refused(name: str, options: dict) -> None:
    least = "n >= 1f" if name == "fltrust" else "n >= 2f"
    for function in (AGGREGATORS[name], SELECTIONS[name]):
        with pytest.raises(ValueError, match=f"{name} needs {least} \\+ 1"):
            function(gaussian_rows(), N if name == "fltrust" else 6, **options)


def test_signguard_where_traced_bounds_leave_no_row() -> None:
    rows = jnp.asarray(gaussian_rows() + 0.2, jnp.float32)
    bounded = jax.jit(lambda lower, upper: aggregators.signguard(rows, F, lower=lower, upper=upper))
    np.testing.assert_array_equal(bounded(jnp.inf, jnp.inf), np.zeros(rows.shape[1]))
    np.testing.assert_array_equal(bounded(0.1, jnp.inf), bounded(0.1, 1e9))
