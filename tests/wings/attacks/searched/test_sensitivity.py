"""The sensitivity curve's largest point against plain loops, and that it moves rules."""

import functools

import jax
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.preaggregators import nearest_neighbor_mixing
from tests.reference import attacks as reference
from tests.reference import rules
from tests.support.compiled import quick_jit

KEY, H, B, D = jax.random.key(0), 9, 3, 4


@pytest.mark.parametrize("name", ["trimmed_mean", "krum"])
def test_the_definition(name):
    attack = attacks.sensitivity_curve(getattr(aggregators, name), reach=4.0, evaluations=6)
    with jax.enable_x64(True):
        send = quick_jit(functools.partial(attack, num_byzantine=B))
        for seed in range(3):
            honest = np.random.default_rng(seed).normal(0.4, 1, (H, D))
            got = send(KEY, honest)
            expected = reference.sensitivity_curve(
                honest, B, getattr(rules, name), B, reach=4.0, evaluations=6
            )
            np.testing.assert_allclose(got, np.tile(expected, (B, 1)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("evaluations", [1, 3])
def test_the_mean_is_most_sensitive_at_the_reach(evaluations):
    honest = np.random.default_rng(0).normal(size=(H, D)).astype(np.float32)
    attack = attacks.sensitivity_curve(aggregators.average, reach=7.0, evaluations=evaluations)
    send = quick_jit(functools.partial(attack, num_byzantine=1))
    row = send(KEY, {"a": honest[:, :1], "b": honest[:, 1:]})
    apart = np.concatenate([row["a"][0], row["b"][0]]) - honest.mean(axis=0)
    np.testing.assert_allclose(np.abs(apart), 7 * honest.std(axis=0, ddof=1), rtol=1e-5)


def test_refused():
    with pytest.raises(ValueError, match="evaluations must be at least 1, got 0"):
        attacks.sensitivity_curve(aggregators.median, evaluations=0)
    for reach in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="reach must be positive and finite, got"):
            attacks.sensitivity_curve(aggregators.median, reach=reach)
    attack = attacks.sensitivity_curve(aggregators.median)
    with pytest.raises(ValueError, match="at least 2 honest rows"):
        attack(KEY, np.ones((1, D), np.float32), 1)


def no_row(updates, f):
    return updates[:, 0]


@pytest.mark.parametrize("rule", [no_row, nearest_neighbor_mixing])
def test_a_rule_that_gives_no_row_is_named(rule):
    honest = np.random.default_rng(0).normal(size=(H, D)).astype(np.float32)
    for attack in (
        attacks.sensitivity_curve(rule, evaluations=2),
        attacks.adaptive("little", rule, evaluations=2),
        attacks.gradient_ascent(rule),
    ):
        with pytest.raises(ValueError, match=f"the rule {rule.__name__} gave no aggregate: an upd"):
            jax.eval_shape(functools.partial(attack, num_byzantine=B), KEY, honest)
