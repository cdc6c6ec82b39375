"""Rules that weigh rows: against plain NumPy, against repeated rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz._arrays.ranks.order_statistics import MAX_NETWORK_ROWS, MAX_ORDERED_ROWS
from simbyz.aggregators import WEIGHTED, heaviest_share
from tests.reference import masses as reference
from tests.reference.masses import BY_HAND, CONFIGURED, OPTIONS, median_by_hand
from tests.support.compiled import compiled, quick_jit

N, D = 9, 6
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
MASSES = np.array([3, 1, 0, 2, 5, 1, 4, 2, 1])


RULES = {name: quick_jit(rule) for name, rule in CONFIGURED.items()}
SELECTIONS = {name: quick_jit(selection) for name, selection in reference.SELECTIONS.items()}


@pytest.mark.slower
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_against_plain_numpy(name, seed):
    rng = np.random.default_rng(seed)
    # Whole masses, with many exact halves, and a few absent rows; or any.
    masses = rng.integers(0, 3, N) if seed % 2 else rng.exponential(size=N)
    rows = np.round(rng.normal(size=(N, D)) * 2, int(seed > 1)).astype(np.float32)  # with ties
    np.testing.assert_allclose(
        RULES[name](rows, masses=masses), BY_HAND[name](rows, masses), rtol=2e-5, atol=1e-6
    )


UNWEIGHTED = {
    "weighted_average": compiled(aggregators.average),
    "weighted_median": compiled(aggregators.median),
    "weighted_geometric_median": compiled(aggregators.geometric_median, **OPTIONS),
}


@pytest.mark.slower
@pytest.mark.parametrize("name", RULES)
def test_a_mass_is_so_many_equal_rows(name):
    repeated = np.repeat(ROWS, MASSES, axis=0)
    expected = UNWEIGHTED[name](repeated)
    np.testing.assert_allclose(RULES[name](ROWS, masses=MASSES), expected, rtol=1e-5, atol=1e-6)
    if name == "weighted_median":
        np.testing.assert_array_equal(RULES[name](ROWS, masses=MASSES), expected)


@pytest.mark.slower
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("n", [N, N - 1])  # an even number halves exactly between two rows
def test_equal_masses_are_no_masses(name, n):
    expected = UNWEIGHTED[name](ROWS[:n])
    for mass in (1, 0.1, 7, 1e-30, 3e38):
        got = RULES[name](ROWS[:n], masses=np.full(n, mass, np.float32))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        if name == "weighted_median":
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", RULES)
def test_order_place_and_scale(name):
    rule = RULES[name]
    plain = rule(ROWS, masses=MASSES)
    order = np.random.default_rng(1).permutation(N)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(rule(ROWS[order], masses=MASSES[order]), plain)
    close(rule(ROWS + ROWS[:1], masses=MASSES), plain + ROWS[0])
    close(rule(3 * ROWS, masses=2 * MASSES), 3 * plain, rtol=2e-2)  # the smoothing stays
    # Masses that don't halve exactly: a factor may round a tie away.
    masses = MASSES + np.array([0.25, *[0] * (N - 1)])
    for factor in (0.1, 1e-20, 1e30):
        close(rule(ROWS, masses=factor * masses), rule(ROWS, masses=masses))


@pytest.mark.slower
@pytest.mark.parametrize("name", RULES)
def test_a_row_of_mass_0_is_absent(name):
    masses = np.array([2, 1, 0, 2, 1, 3, 0, 1, 1])
    spoiled = ROWS.copy()
    spoiled[2], spoiled[6] = np.nan, 1e30
    present = masses > 0
    np.testing.assert_allclose(
        RULES[name](spoiled, masses=masses),
        RULES[name](ROWS[present], masses=masses[present]),
        rtol=1e-5,
    )
    shares = SELECTIONS[name](spoiled, masses=masses)
    np.testing.assert_array_equal(shares[~present], 0)


@pytest.mark.parametrize("claim", [-1.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", RULES)
def test_a_mass_that_is_none_counts_as_0(name, claim):
    masses = MASSES.astype(float)
    masses[4] = claim
    without = np.where(np.arange(N) == 4, 0, MASSES)
    np.testing.assert_array_equal(
        RULES[name](ROWS, masses=masses), RULES[name](ROWS, masses=without)
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("name", ["weighted_median", "weighted_geometric_median"])
def test_less_than_half_of_the_mass_is_borne_and_more_is_not(name, bad):
    """Five rows of nine hold less than half; one row that claims more than all is believed."""
    masses = np.array([1, 1, 1, 1, 1, 2, 2, 2, 2])
    rows = ROWS.copy()
    rows[:5] = bad
    got = np.asarray(RULES[name](rows, masses=masses))
    assert np.all((ROWS[5:].min(axis=0) <= got) & (got <= ROWS[5:].max(axis=0)))
    assert float(heaviest_share(masses, 3)) == pytest.approx(6 / 13)
    assert float(heaviest_share(masses, 4)) > 0.5
    believed = np.array([20, *masses[1:]])
    rows[0] = 1e3
    assert np.abs(RULES[name](rows, masses=believed)).min() > 500


@pytest.mark.parametrize("name", RULES)
def test_selections_tell_what_the_rule_did(name):
    shares = SELECTIONS[name](ROWS, masses=MASSES)
    assert float(jnp.sum(shares)) == pytest.approx(1, rel=1e-5)
    if name == "weighted_median":
        got = np.asarray(RULES[name](ROWS, masses=MASSES))
        np.testing.assert_allclose(shares, np.mean(got == ROWS, axis=1), rtol=1e-6)
    else:
        np.testing.assert_allclose(shares @ ROWS, RULES[name](ROWS, masses=MASSES), rtol=1e-4)


@pytest.mark.slower
@pytest.mark.parametrize("name", RULES)
def test_trees_lanes_and_dtypes(name):
    rule, plain = RULES[name], RULES[name](ROWS, masses=MASSES)
    tree = {"a": ROWS[:, :2].reshape(N, 2, 1), "b": ROWS[:, 2:]}
    joined = rule(tree, masses=MASSES)
    np.testing.assert_allclose(np.append(joined["a"].ravel(), joined["b"]), plain, rtol=1e-6)
    rows = np.stack([ROWS, 2 * ROWS])
    masses = np.stack([MASSES, MASSES[::-1]]).astype(np.float32)
    lanes = jax.vmap(lambda rows, masses: CONFIGURED[name](rows, masses=masses))
    together = quick_jit(lanes)(rows, masses)
    for got, *given in zip(together, rows, masses, strict=True):
        np.testing.assert_allclose(got, rule(given[0], masses=given[1]), rtol=1e-5, atol=1e-6)
    assert rule(ROWS.astype(jnp.bfloat16), masses=MASSES).dtype == jnp.bfloat16


@pytest.mark.slower
@pytest.mark.parametrize("name", RULES)
def test_derivatives(name):
    """Against differences, and finite under rows of NaN and equal rows."""

    def total(rows):
        return jnp.sum(jnp.cos(CONFIGURED[name](rows, masses=MASSES)))

    total, gradient_of = quick_jit(total), quick_jit(jax.grad(total))
    gradient, along = gradient_of(ROWS), np.random.default_rng(2).normal(size=ROWS.shape)
    eps = 1e-2
    difference = (total(ROWS + eps * along) - total(ROWS - eps * along)) / (2 * eps)
    assert float(np.sum(gradient * along)) == pytest.approx(float(difference), rel=0.03)
    assert np.isfinite(gradient_of(np.ones_like(ROWS))).all()
    if name != "weighted_average":
        spoiled = np.where(np.arange(N)[:, None] == 1, np.nan, ROWS).astype(np.float32)
        assert np.isfinite(gradient_of(spoiled)).all()


@pytest.mark.parametrize("n", [MAX_ORDERED_ROWS + 6, MAX_NETWORK_ROWS + 12])
def test_many_rows_are_not_sorted_and_give_the_same(n):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(n, 3)).astype(np.float32)
    rows[5] = np.nan
    rule = RULES["weighted_median"]
    for masses in (rng.integers(0, 4, n), np.full(n, 0.1), rng.exponential(size=n)):
        clean = np.where(np.isnan(rows), np.inf, rows)
        np.testing.assert_allclose(rule(rows, masses=masses), median_by_hand(clean, masses))
        half = np.asarray(rule(rows.astype(np.float16), masses=masses))
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half, median_by_hand(clean.astype(np.float16), masses))
    zero = jnp.zeros(n)
    assert np.isnan(rule(rows, masses=zero)).all()
    rule = CONFIGURED["weighted_median"]
    gradient = quick_jit(jax.grad(lambda rows: rule(rows, masses=masses).sum()))
    assert np.isfinite(gradient(rows)).all()


@pytest.mark.parametrize("name", RULES)
def test_traced_masses_that_are_all_0_give_nan(name):
    assert np.isnan(RULES[name](ROWS, masses=jnp.zeros(N))).all()


@pytest.mark.parametrize("unit", [1e-300, 1e-42, 1e60])
def test_masses_that_float32_lacks_count_by_their_ratios(unit):
    rows = np.array([[1.0], [3.0], [5.0]], np.float32)
    masses = unit * np.array([1.0, 4.0, 1e-20])
    mean = WEIGHTED["weighted_average"](rows, masses=masses)
    assert float(mean[0]) == pytest.approx((1 + 4 * 3) / 5, rel=1e-6)
    assert float(WEIGHTED["weighted_median"](rows, masses=masses)[0]) == 3
    assert float(heaviest_share(masses, 1)) == pytest.approx(4 / 5, rel=1e-6)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("name", WEIGHTED)
def test_refused_masses(name):
    with pytest.raises(ValueError, match=f"{name} needs masses that are real"):
        WEIGHTED[name](ROWS, masses=MASSES * 1j)
    with pytest.raises(ValueError, match=rf"{name} needs a mass for each of the n=9 .* \(8,\)"):
        WEIGHTED[name](ROWS, masses=MASSES[:8])
    with pytest.raises(ValueError, match=rf"{name} needs a mass for each of the n=9 .* \(9, 1\)"):
        WEIGHTED[name](ROWS, masses=MASSES[:, None])
    for none in (np.zeros(N), np.full(N, np.nan), np.full(N, -1)):
        with pytest.raises(ValueError, match=f"{name} needs a mass above 0, got"):
            WEIGHTED[name](ROWS, masses=none)
    if name != "weighted_average":
        with pytest.raises(ValueError, match=rf"{name} needs n >= 2f \+ 1, got n=9, f=5"):
            WEIGHTED[name](ROWS, 5, masses=MASSES)


@pytest.mark.parametrize("scale", [1e15, 1.5e19, 1e38])
def test_a_row_whose_square_is_no_float_still_pulls(scale):
    """It is far beside nobody: 1e4 times as long as the others, or as they are."""
    rows = ROWS / np.abs(ROWS).max()
    rows[0] *= 1e4 if scale == 1e15 else 1
    rule, smoothing = RULES["weighted_geometric_median"], OPTIONS["smoothing"] * scale
    got = rule(rows * np.float32(scale), masses=MASSES, smoothing=smoothing)
    expected = BY_HAND["weighted_geometric_median"](rows.astype(np.float64), MASSES)
    np.testing.assert_allclose(np.asarray(got, np.float64) / scale, expected, rtol=1e-4, atol=1e-6)
