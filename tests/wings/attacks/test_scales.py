"""Attacks on honest rows whose squares, or sums, are no floats."""

import functools

import jax
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.attacks.searched.adaptive import search_factor
from tests.support.compiled import compiled
from tests.wings.attacks.test_laws import CONFIGURED, KEY, B, drawn, jitted

# Honest values are up to about 4: at the last, the sum of seven is no float32.
SCALES = [2.0**-100, 2.0**-66, 2.0**66, 2.0**100, 2.0**124]


@pytest.mark.slower
@pytest.mark.parametrize("attack", [one for one in CONFIGURED if one.scales], ids=str)
def test_powers_of_two_change_nothing_but_the_scale(attack) -> None:
    if not attack.finite:
        return
    honest = drawn(3, 0.5)
    send = functools.partial(jitted(attack), KEY)
    expected = np.asarray(send(honest), np.float64)
    for scale in SCALES:
        got = np.asarray(send(np.float32(scale) * honest), np.float64) / scale
        # What is beyond the largest float is infinite.
        there = np.abs(expected) * scale < float(np.finfo(np.float32).max)
        np.testing.assert_allclose(
            got[there], expected[there], rtol=1e-5, atol=1e-5, err_msg=f"{scale}"
        )


def test_the_deviation_of_small_and_large_rows() -> None:
    honest = drawn(4, 1.0)
    little = compiled(attacks.a_little_is_enough, num_byzantine=1)
    for scale in (1e-20, 1e-35, 1e20, 2e36):
        rows = (honest * scale).astype(np.float32)
        exact = rows.astype(np.float64)
        expected = exact.mean(axis=0) - 1.5 * exact.std(axis=0, ddof=1)
        np.testing.assert_allclose(little(KEY, rows)[0] / scale, expected / scale, rtol=1e-5)


def test_a_shift_that_is_no_float_from_a_mean_that_is_one() -> None:
    """1.8 deviations of these rows are 1.14 of the largest float, the result -0.85 of it."""
    most = float(np.finfo(np.float32).max)
    rows = (np.array([[0.88], [0.29], [-0.59], [0.59]]) * most).astype(np.float32)
    exact = rows.astype(np.float64) / most
    deviation = exact.std(axis=0, ddof=1)
    expected = exact.mean(axis=0) - 1.8 * deviation
    for attack in (attacks.a_little_is_enough, attacks.sparse):
        got = compiled(attack, num_byzantine=1, factor=-1.8)(KEY, rows)
        np.testing.assert_allclose(np.float64(got[0]) / most, expected, rtol=1e-5)
    first = exact.mean(axis=0) - 0.2 * deviation
    got = compiled(attacks.byz_mean, num_byzantine=2, factor=-0.2)(KEY, rows)
    second = 5 * first - exact.sum(axis=0)  # so that the mean of all six is the first
    np.testing.assert_allclose(np.float64(got) / most, [first, second], rtol=1e-5, atol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize("symmetry", [None, "rotations"])
def test_a_search_finds_the_same_factor_at_every_scale(symmetry) -> None:
    honest = drawn(5, 0.3)

    @jax.jit
    def factor(honest):
        return search_factor(
            KEY, honest, B, direction="little", rule=aggregators.krum, f=2, symmetry=symmetry
        ).factor

    expected = float(factor(honest))
    assert expected > 0
    for scale in (2.0**-100, 2.0**-66, 2.0**66, 2.0**100):
        assert float(factor(np.float32(scale) * honest)) == pytest.approx(expected, rel=1e-4)
