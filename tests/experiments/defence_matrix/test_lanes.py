"""Lanes of the defence matrix send what the library's attacks send."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.defence_matrix import lanes
from experiments.defence_matrix.defences import defence
from simbyz import attacks

ROWS = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)


@pytest.mark.slower
@pytest.mark.parametrize("name", lanes.FIXED)
def test_a_lane_sends_what_the_attack_sends(name):
    key = jax.random.key(0)
    which = jnp.float32(lanes.options(name)["which"])
    got = jax.jit(lanes.fixed, static_argnums=2)(key, ROWS, 2, which=which)
    np.testing.assert_allclose(got, getattr(attacks, name)(key, ROWS, 2), rtol=1e-6, atol=1e-7)


@pytest.mark.slower
@pytest.mark.parametrize("names", [list(lanes.FIXED), ["min_max", "sign_flipping", "min_max"]])
@pytest.mark.parametrize("own_key", [False, True])
def test_lanes_side_by_side_send_what_each_alone_sends(names, own_key):
    honest = np.random.default_rng(1).normal(size=(len(names), *ROWS.shape)).astype(np.float32)
    which = np.array([lanes.options(name)["which"] for name in names], np.float32)
    key = jax.random.key(0)
    keys = jax.random.split(key, len(names)) if own_key else key
    got = jax.jit(
        jax.vmap(
            lambda key, rows, which: lanes.fixed(key, rows, 2, which=which),
            in_axes=(0 if own_key else None, 0, 0),
        )
    )(keys, honest, which)
    for i, name in enumerate(names):
        want = getattr(attacks, name)(keys[i] if own_key else key, honest[i], 2)
        np.testing.assert_allclose(got[i], want, rtol=1e-5, atol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize("pre", ["nnm", "bucketing"])
def test_a_searched_lane_searches_through_the_whole_defence(pre):
    key = jax.random.key(0)
    rule = defence("trimmed_mean", pre)
    if pre == "bucketing":
        same = lambda stack, f: rule(stack, f, key=key)  # noqa: E731
    else:
        same = rule
    got, want = (
        [
            lanes.searched(rule, 6)(key, ROWS, 2, **lanes.options(name)),
            attacks.adaptive(name.partition("_")[2], same, evaluations=6)(key, ROWS, 2),
        ]
        for name in lanes.SEARCHED
    )
    np.testing.assert_allclose(got[0], got[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(want[0], want[1], rtol=1e-5, atol=1e-6)
    assert np.abs(got[0] - want[0]).max() > 0.1
