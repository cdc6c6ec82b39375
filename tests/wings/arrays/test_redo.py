"""Redoing: what is computed again, and for whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz._arrays.redo import redo_if


def halved(x):
    """x / 2, or, where x is above 1, its square done the other way."""
    return redo_if(x > 1, x / 2, jnp.square, x)


@pytest.mark.parametrize(("given", "expected"), [(0.5, 0.25), (3.0, 9.0)])
def test_done_again_where_it_was_bad(given, expected):
    assert halved(jnp.float32(given)) == expected
    assert jax.jit(halved)(jnp.float32(given)) == expected


def test_each_lane_gets_its_own():
    lanes = jnp.asarray([0.5, 3.0, 1.0, 2.0])
    np.testing.assert_array_equal(jax.vmap(halved)(lanes), [0.25, 9, 0.5, 4])


@pytest.mark.parametrize("transformed", [lambda function: function, jax.vmap])
def test_where_nothing_is_bad_nothing_is_done(transformed):
    done = []

    def on_host(x):
        done.append(1)
        return np.asarray(x)

    # Of no effect that XLA knows of, so that it may move it, as any other computation.
    def redo(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(on_host, shape, x, vmap_method="expand_dims")

    lanes = jnp.asarray([0.5, 1.0])
    value = jax.jit(transformed(lambda x: redo_if(jnp.any(x > 1), x, redo, x)))(lanes)
    np.testing.assert_array_equal(value, lanes)
    assert not done
