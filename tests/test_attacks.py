"""Attacks against their definitions; laws that all of them keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from simbyz import attacks
from simbyz.attacks import ATTACKS

KEY = jax.random.key(0)
HONEST = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


@pytest.mark.parametrize("factor", [-1.5, 0.0, 2.0])
def test_a_little_is_enough(factor):
    got = attacks.a_little_is_enough(KEY, HONEST, 3, factor=factor)
    np.testing.assert_allclose(
        got,
        [reference.a_little_is_enough(HONEST.astype(np.float64), factor)] * 3,
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("factor", [1.1, 0.0, 3.0])
def test_fall_of_empires(factor):
    got = attacks.fall_of_empires(KEY, HONEST, 2, factor=factor)
    np.testing.assert_allclose(
        got,
        [reference.fall_of_empires(HONEST.astype(np.float64), factor)] * 2,
        rtol=1e-5,
        atol=1e-6,
    )


def test_nan():
    assert np.isnan(attacks.nan(KEY, HONEST, 2)).all()


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
class TestLaws:
    @pytest.mark.parametrize("num_byzantine", [0, 1, 4])
    def test_shape_and_dtype(self, attack, num_byzantine):
        for dtype in (jnp.float32, jnp.bfloat16):
            got = attack(KEY, jnp.asarray(HONEST, dtype), num_byzantine)
            assert got.shape == (num_byzantine, 5)
            assert got.dtype == dtype

    def test_order_of_the_honest_does_not_matter(self, attack):
        shuffled = HONEST[[3, 0, 6, 1, 5, 2, 4]]
        np.testing.assert_allclose(
            attack(KEY, shuffled, 2), attack(KEY, HONEST, 2), rtol=1e-5, atol=1e-6
        )

    def test_matrix_equals_pytree(self, attack):
        tree = {"a": HONEST[:, :2].reshape(7, 2, 1), "b": HONEST[:, 2:]}
        got = attack(KEY, tree, 2)
        assert got["a"].shape == (2, 2, 1)
        joined = np.concatenate([got["a"].reshape(2, 2), got["b"]], axis=1)
        np.testing.assert_array_equal(joined, attack(KEY, HONEST, 2))

    def test_jit(self, attack):
        jitted = jax.jit(attack, static_argnums=2)
        np.testing.assert_allclose(
            jitted(KEY, HONEST, 2), attack(KEY, HONEST, 2), rtol=1e-5, atol=1e-6
        )

    def test_refuses_a_negative_number(self, attack):
        with pytest.raises(ValueError, match="num_byzantine must be at least 0, got -1"):
            attack(KEY, HONEST, -1)


def test_a_factor_may_be_traced():
    factors = jnp.asarray([-1.5, 0.5])
    swept = jax.vmap(lambda k: attacks.a_little_is_enough(KEY, HONEST, 1, factor=k))(factors)
    for got, factor in zip(swept, factors, strict=True):
        expected = attacks.a_little_is_enough(KEY, HONEST, 1, factor=float(factor))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_a_deviation_takes_two():
    with pytest.raises(ValueError, match="at least 2 honest rows"):
        attacks.a_little_is_enough(KEY, HONEST[:1], 1)
