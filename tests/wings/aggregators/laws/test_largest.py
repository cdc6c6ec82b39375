"""Values near the largest float, whose sums and differences are none, beside infinite ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.aggregators import selection_of
from tests.support.compiled import compiled
from tests.support.rules import refer

MOST = float(np.finfo(np.float32).max)
# With f = 2: honest ones on both sides of zero, farther apart than a float; all on one; mixed.
HONEST = {
    "apart": [-0.9, -0.8, -0.7, 0.6, 0.8, 0.9, -0.85, 0.7, 0.5],
    "high": [0.9, 0.8, 0.95, 0.99, 0.7, 0.85, 0.92, 0.88, 0.97],
    "low": [-0.9, -0.8, -0.95, -0.99, -0.7, -0.85, -0.92, -0.88, -0.97],
    "one large": [0.9, 1e-38, 2e-38, -1e-38, 0, 1e-20, 3e-30, -2e-20, 1e-3],
}
RULES = ["trimmed_mean", "meamed", "phocas", "median", "bulyan", "krum", "multi_krum", "cge", "caf"]


@pytest.mark.slower
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, None])
def test_near_the_largest_float(name: str, bad: float | None) -> None:
    for case, values in HONEST.items():
        exact = np.array([*([0.4, -0.2] if bad is None else [bad, bad]), *values])[:, None]
        rows = (exact * MOST).astype(np.float32)
        f = {"bulyan": 2}.get(name, 2)
        got = np.asarray(compiled(getattr(aggregators, name), f=f)(rows))
        expected = refer(name, {}, rows.astype(np.float64), f)
        np.testing.assert_allclose(
            got / MOST, expected / MOST, rtol=1e-5, atol=1e-6, err_msg=f"{case} {bad}"
        )


def test_the_mean_and_the_midpoint_of_large_values() -> None:
    rows = np.array([[0.9, -0.9], [0.95, 0.9], [0.8, -0.7], [0.7, -0.99]], np.float32) * MOST
    mean = compiled(aggregators.average, f=0)(rows)
    np.testing.assert_allclose(mean, rows.astype(np.float64).mean(axis=0), rtol=1e-6)
    middle = compiled(aggregators.median, f=1, midpoint=True)(rows)
    np.testing.assert_allclose(middle, np.median(rows.astype(np.float64), axis=0), rtol=1e-6)


# Means of so many rows that their rounded sum, divided, is more than the largest float.
ROUNDED = [("average", 63, 0), ("trimmed_mean", 25, 5), ("phocas", 25, 11), ("caf", 7, 1)]
ROUNDED += [("filter_l2", 7, 1), ("geometric_median", 7, 1), ("norm_bounded_mean", 25, 5)]


@pytest.mark.slower
@pytest.mark.parametrize(("name", "n", "f"), ROUNDED)
def test_a_mean_of_the_largest_float_is_it(name: str, n: int, f: int) -> None:
    got = compiled(getattr(aggregators, name), f=f)(np.full((n, 3), MOST, np.float32))
    np.testing.assert_allclose(got, MOST, rtol=2e-6)


@pytest.mark.parametrize(
    "name",
    ["centered_clipping", "sequential_centered_clipping", "layerwise_centered_clipping"],
)
def test_clipping_around_a_centre_on_the_other_side_of_zero(name: str) -> None:
    """The rows are 1.6 of the largest float from the centre, each step at most the radius."""
    rows, center = jnp.full((3, 1), -0.8 * MOST), jnp.full(1, 0.8 * MOST)
    rule = getattr(aggregators, name)

    clipped = jax.jit(lambda radius: rule(rows, 1, radius=radius, center=center))
    for radius, expected in ((0.4 * MOST, 0.4), (np.inf, -0.8)):
        assert float(clipped(radius)[0]) / MOST == pytest.approx(expected, rel=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize("name", ["meamed", "phocas"])
def test_an_infinitely_low_row_never_stays(name: str) -> None:
    """One honest value is farther from the centre than the largest float16."""
    rows = jnp.asarray([[-jnp.inf], [-4e4], [4e4]], jnp.float16)
    rule = getattr(aggregators, name)
    assert compiled(rule, f=1)(rows).tolist() == [0]
    np.testing.assert_array_equal(compiled(selection_of(rule), f=1)(rows), [0, 0.5, 0.5])
    many = jnp.asarray([[-jnp.inf]] * 2 + [[-4e4]] * 70 + [[4e4]] * 70, jnp.float16)
    value = float(compiled(rule, f=2)(many)[0])
    assert np.isfinite(value)
    assert float(jnp.sum(compiled(selection_of(rule), f=2)(many)[:2])) == 0


D = 80
LONG = np.random.default_rng(1).uniform(0.1, 1, size=(9, D)) * np.float32(1.5e38)
LONG = np.where(np.random.default_rng(2).random((9, D)) < 0.2, -LONG, LONG).astype(np.float32)
TRUSTED = np.linspace(-1, 2, D).astype(np.float32)
CLIPPING = {
    "norm_bounded_mean": [{}, {"radius": 1.0}],
    "centered_clipping": [{"radius": 1.0}, {"radius": 2.0, "iterations": 3}],
    "sequential_centered_clipping": [{}, {"radius": 1.0}],
    "layerwise_centered_clipping": [{}, {"radius": 1.0}],
    "huber_center": [{}],
    "autogm": [{}],
    "fltrust": [{"trusted": TRUSTED}],
    "fedseca": [{"sparsity": 0.5}],
}


@pytest.mark.slower
@pytest.mark.parametrize("name", CLIPPING)
def test_rows_whose_length_is_no_float_are_shortened(name: str) -> None:
    """Nor is the share of one that is shortened to 1, about 1e-39."""
    assert np.linalg.norm(LONG.astype(np.float64), axis=1).min() > MOST
    for options in CLIPPING[name]:
        got = np.asarray(compiled(getattr(aggregators, name), f=2, **options)(LONG), np.float64)
        expected = refer(name, options, LONG.astype(np.float64), 2)
        size = np.abs(expected).max()
        np.testing.assert_allclose(got / size, expected / size, atol=2e-6, err_msg=str(options))


@pytest.mark.slower
def test_shares_of_rows_whose_length_is_no_float() -> None:
    lengths = np.linalg.norm(LONG.astype(np.float64), axis=1)
    for radius in (1e-3, 1.0, 1e30):
        shares = 1 / lengths / np.sum(1 / lengths)
        rule = aggregators.norm_bounded_mean_selection
        np.testing.assert_allclose(compiled(rule, f=2, radius=radius)(LONG), shares, rtol=1e-5)
