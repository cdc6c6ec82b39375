"""A power of two changes nothing but the scale, though squares of the rows are no floats there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz._arrays.geometry import squared_distances_to
from tests.support.compiled import compiled
from tests.support.rules import TRUSTED, Rule, every_rule_with, gaussian_rows, refer

# In float32 a square is no normal number below 2^-63, and no number from 2^64 on.
SCALES = [2.0**-105, 2.0**-66, 2.0**64, 2.0**100, 2.0**123]


@every_rule_with("scaling")
def test_powers_of_two_change_nothing_but_the_scale(rule: Rule) -> None:
    rows = gaussian_rows(5)
    rows[0] *= 20
    expected = np.asarray(rule.compiled()(rows))
    # Below a smoothing distance all rows pull alike.
    for scale in map(np.float32, SCALES[2:] if "smoothing" in rule.options else SCALES):
        got = np.asarray(rule.compiled()(scale * rows)) / scale
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=1e-6, err_msg=f"{scale}")


@pytest.mark.slower
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("geometric_median", {"smoothing": 0.1, "iterations": 3}),
        ("centered_clipping", {"radius": 1.5, "iterations": 2}),
        ("fltrust", {"trusted": TRUSTED.astype(np.float32)}),
    ],
)
def test_lengths_that_are_given_scale_along(name: str, options: dict) -> None:
    rows = gaussian_rows(5)
    lengths = {key: value for key, value in options.items() if key != "iterations"}
    counts = {key: value for key, value in options.items() if key == "iterations"}
    rule = jax.jit(lambda rows, lengths: getattr(aggregators, name)(rows, 2, **counts, **lengths))
    expected = np.asarray(rule(rows, lengths))
    for scale in map(np.float32, SCALES):
        scaled = jax.tree.map(lambda value, scale=scale: np.float32(value) * scale, lengths)
        got = np.asarray(rule(scale * rows, scaled)) / scale
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=1e-6, err_msg=f"{scale}")


# In each the first is the outlier, and the second the answer.
FEW = np.array([[9], [1], [1.1], [0.9], [1.05], [0.95], [1.02]])
SMALLEST = {"float16": 2.0**-14, "bfloat16": 2.0**-100, "float32": 2.0**-115, "float64": 2.0**-1000}
LARGEST = {"float16": 2.0**12, "bfloat16": 2.0**124, "float32": 2.0**124, "float64": 2.0**1020}


@pytest.mark.slower
@pytest.mark.parametrize("dtype", SMALLEST)
@pytest.mark.parametrize("name", ["krum", "cge"])
def test_to_the_ends_of_every_dtype(name: str, dtype: str) -> None:
    with jax.enable_x64(dtype == "float64"):
        for scale in (1, SMALLEST[dtype], LARGEST[dtype]):
            rows = jnp.asarray(FEW * scale, dtype)
            got = compiled(getattr(aggregators, name), f=2)(rows)
            exact = refer(name, {}, np.asarray(rows, np.float64) / scale, 2)
            bits = float(jnp.finfo(dtype).eps)
            np.testing.assert_allclose(np.asarray(got, np.float64) / scale, exact, rtol=2 * bits)


def test_the_outlier_is_not_taken_at_a_scale_without_squares() -> None:
    for scale in (1e-20, 1e-30, 1e-36, 1e20, 1e30, 3e37):
        rows = np.float32(scale) * FEW.astype(np.float32)
        np.testing.assert_array_equal(compiled(aggregators.krum, f=2)(rows), rows[1])
        assert (
            np.asarray(compiled(aggregators.krum_selection, f=2)(rows)).tolist() == [0, 1] + [0] * 5
        )


def test_rows_of_many_values_take_the_same_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, where the distances are taken to a row first."""
    monkeypatch.setattr("simbyz._arrays.geometry.FEW_VALUES", 0)
    rule = jax.jit(functools.partial(aggregators.krum_selection, f=2))
    rows = np.random.default_rng(0).normal(size=(11, 40)).astype(np.float32)
    expected = np.asarray(rule(rows))
    for scale in map(np.float32, SCALES):
        np.testing.assert_array_equal(rule(scale * rows), expected)


def test_attackers_of_another_scale_change_no_choice() -> None:
    rows = gaussian_rows(1)
    rule = compiled(aggregators.krum, f=2)
    for honest in (2.0**-100, 1.0, 2.0**100):
        for bad in (2.0**-120, 2.0**-40, 2.0**120):
            given = np.float32(honest) * rows
            given[:2] = np.float32(bad) * rows[:2]
            exact = refer("krum", {}, given.astype(np.float64), 2)
            np.testing.assert_array_equal(rule(given), exact.astype(np.float32))


@pytest.mark.parametrize("scale", [2.0**-80, 2.0**-105, 2.0**-114])
def test_distances_of_tiny_rows_keep_their_digits(scale: float) -> None:
    """Products of such rows with a way of length 1 were flushed to 0, from 2^-126 on."""
    rows = np.random.default_rng(3).normal(size=(7, 50))
    center = rows.mean(axis=0)
    exact = np.sum((rows - center) ** 2, axis=1)
    squares = squared_distances_to(
        jnp.asarray(center * scale, jnp.float32), jnp.asarray(rows * scale, jnp.float32)
    )
    got = np.asarray(squares.values, np.float64) / (scale * float(squares.unit)) ** 2
    np.testing.assert_allclose(got, exact, rtol=1e-5)
