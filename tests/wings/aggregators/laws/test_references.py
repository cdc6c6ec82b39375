"""Every rule against float64 loops that are written from the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from tests.reference import attacks as reference_attacks
from tests.support.compiled import compiled
from tests.support.rules import (
    D,
    F,
    N,
    Rule,
    each_name,
    every_rule,
    every_rule_with,
    m_needs,
    refer,
)


def check(rule: Rule, n: int, f: int) -> None:
    with jax.enable_x64(True):
        for seed in range(5):
            rows = np.random.default_rng(seed).normal(size=(n, D))
            result = rule.compiled(f)(rows)
            assert result.dtype == jnp.float64
            np.testing.assert_allclose(result, rule.refer(rows, f), rtol=1e-9, atol=1e-12)


@every_rule
def test_results_are_the_references(rule: Rule) -> None:
    check(rule, N, F)


@each_name
def test_results_at_the_limit_are_the_references(rule: Rule) -> None:
    check(rule, max(rule.smallest_n(1), m_needs(rule, 1)), 1)


@each_name
def test_results_without_tolerance_are_the_references(rule: Rule) -> None:
    check(rule, 7, 0)


@pytest.mark.thorough
@every_rule
def test_results_at_the_limit_of_more_are_the_references(rule: Rule) -> None:
    """By programs with all optimisations."""
    check(rule, max(rule.smallest_n(F), m_needs(rule, F)), F)


@every_rule_with("robustness")
def test_results_with_bad_rows_are_the_references(rule: Rule) -> None:
    with jax.enable_x64(True):
        rule_fn = rule.compiled()
        for seed in range(5):
            generator = np.random.default_rng(seed)
            rows = generator.normal(size=(N, D))
            rows[generator.choice(N, F, replace=False)] = generator.choice(
                [np.nan, np.inf, -np.inf, 1e30, -1e30], size=(F, D)
            )
            np.testing.assert_allclose(
                rule_fn(rows), rule.refer(rows, F), rtol=1e-9, atol=1e-12, err_msg=f"{seed=}"
            )


@every_rule
def test_results_with_repeated_rows_are_the_references(rule: Rule) -> None:
    """The attackers of the paper all send one vector: f equal rows, close to the others."""
    with jax.enable_x64(True):
        rule_fn = rule.compiled()
        for seed in range(5):
            rows = np.random.default_rng(seed).normal(size=(N, D))
            rows[N - F :] = reference_attacks.a_little_is_enough(rows[: N - F], F)
            np.testing.assert_allclose(
                rule_fn(rows), rule.refer(rows, F), rtol=1e-9, atol=1e-12, err_msg=f"{seed=}"
            )


@every_rule_with("ties")
def test_ties_go_to_the_smaller_value_or_the_earlier_row(rule: Rule) -> None:
    """Small integers, on which these rules round nothing before they choose."""
    with jax.enable_x64(True):
        for seed in range(20):
            rows = np.random.default_rng(seed).integers(-2, 3, size=(N, D)).astype(np.float64)
            np.testing.assert_allclose(
                rule.compiled()(rows),
                rule.refer(rows, F),
                rtol=1e-12,
                atol=1e-12,
                err_msg=f"{seed=}",
            )


HALVES = ["bfloat16", "float16"]


@pytest.mark.slower
@pytest.mark.parametrize(
    "name, options, n, dtypes",
    [
        ("phocas", {}, 7, HALVES),
        ("meamed", {}, 7, HALVES),
        ("meamed", {"midpoint": True}, 8, HALVES),
        ("bulyan", {}, 7, HALVES),
        ("bulyan", {"variant": "released"}, 8, HALVES),
        # Of many rows, which compile for long, one each.
        ("phocas", {}, 130, ["bfloat16"]),
        ("meamed", {"midpoint": True}, 130, ["float16"]),
    ],
)
def test_in_half_precision_a_result_is_rounded_once(
    name: str, options: dict, n: int, dtypes: list[str]
) -> None:
    """Of a rounded centre or distance another value was nearest: 0.844 in the place of 1.178."""
    f = 1 if n < 10 else 20
    drawn = np.random.default_rng(0).normal(size=(n, 300 if n < 10 else 60))
    for dtype in dtypes:
        rows = drawn.astype(jnp.dtype(dtype))
        got = compiled(getattr(aggregators, name), f=f, **options)(rows)
        expected = refer(name, options, rows.astype(np.float64), f)
        assert got.dtype == rows.dtype
        off = np.abs(np.asarray(got, np.float64) - expected)
        assert np.all(off <= float(jnp.finfo(dtype).eps) * np.maximum(np.abs(expected), 1e-2))
