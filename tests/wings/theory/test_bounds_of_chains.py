"""Bounds on κ and λ behind pre-aggregators, by hand and in runs."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz.aggregators import (
    bulyan,
    chain,
    geometric_median,
    krum,
    median,
    minimum_diameter_averaging,
    multi_krum,
    safeguard,
    selection_of,
    trimmed_mean,
)
from simbyz.preaggregators import (
    adaptive_robust_clipping,
    bucketing,
    clipping,
    nearest_neighbor_mixing,
)
from simbyz.simulator import Config, Hyperparameters
from simbyz.simulator.certificates import coefficient_bound, realised_lambda, resilience_bound
from simbyz.simulator.keys import INITIALISE
from simbyz.theory.robustness import (
    bucketing_coefficient,
    bucketing_resilience,
    least_diameter_resilience,
    resilience,
)
from tests.wings.simulator.quadratic import TARGET, quadratic, run

PAIRS = functools.partial(bucketing, bucket_size=2)
TRIMMED = 6 * 1 / 12 * (1 + 1 / 12)  # κ of the trimmed mean, n = 14 and f = 1


def test_by_hand():
    assert bucketing_coefficient(6, 1, 2, 12.0) == pytest.approx(15 + math.sqrt(15) + 0.25)
    alpha = 12 / 13
    whole = (1 + math.sqrt(1 - alpha)) ** 2 / alpha
    assert bucketing_coefficient(14, 1, 2, 1.0) == pytest.approx(whole)
    # Buckets of 2, 2 and 1 rows: shares of 1/6 and 1/3.
    incomplete = (math.sqrt(2) + math.sqrt(1 / 3)) ** 2
    assert bucketing_coefficient(7, 1, 2, 1.0) == pytest.approx(incomplete)
    # Without attackers: rows 0, 0 and 1, of which the last is a bucket by itself.
    assert bucketing_coefficient(3, 0, 2, 0.0) == pytest.approx((1 / 2 - 1 / 3) ** 2 / (2 / 9))
    assert bucketing_coefficient(7, 2, 1, 0.3) == pytest.approx(0.3)
    assert bucketing_resilience(6, 1, 2, 0.5) == pytest.approx(0.5 + 1 / 5)
    assert bucketing_resilience(7, 1, 2, 0.0) == pytest.approx(1 / 6)
    assert resilience(7, 2, 0.5) == pytest.approx(math.sqrt(0.25 * 4 / 5))
    assert least_diameter_resilience(7, 2) == pytest.approx(4 / 5)
    with pytest.raises(ValueError, match="bucketing before a rule needs n >= 2f"):
        bucketing_coefficient(6, 2, 2, 1.0)


@pytest.mark.parametrize(("n", "f", "size"), [(6, 1, 2), (7, 1, 2), (5, 0, 2), (9, 1, 3)])
def test_no_case_is_above_the_bound_of_buckets(n, f, size):
    """The trimmed mean of buckets in their order, every S, also where one row of S is far off."""
    rng = np.random.default_rng(n)
    cases = rng.normal(size=(20000, n))
    cases[::2, rng.integers(0, n)] *= 1e3
    cases[::3] = rng.integers(0, 2, size=cases[::3].shape)
    count = -(-n // size)
    buckets = np.stack([cases[:, size * b : size * b + size].mean(axis=1) for b in range(count)])
    made = np.sort(buckets, axis=0)[f : count - f].mean(axis=0)
    floor = f / (count - 2 * f)
    kappa = bucketing_coefficient(n, f, size, 6 * floor * (1 + floor))
    # Of the middle of some numbers and the mean of any m - f of them: by κ.
    of_buckets = math.sqrt(3 * floor * (1 + floor) * (1 - 1 / (count - f)))
    lam = bucketing_resilience(n, f, size, of_buckets)
    for chosen in itertools.combinations(range(n), n - f):
        honest = cases[:, chosen]
        off = np.abs(made - honest.mean(axis=1))
        assert np.all(off**2 <= kappa * honest.var(axis=1) * (1 + 1e-9) + 1e-9)
        assert np.all(off <= lam * np.ptp(honest, axis=1) * (1 + 1e-9) + 1e-9)


@pytest.mark.parametrize(
    ("rule", "n", "f", "expected"),
    [
        (trimmed_mean, 14, 1, TRIMMED),
        (chain(trimmed_mean), 14, 1, TRIMMED),
        (chain(nearest_neighbor_mixing, trimmed_mean), 14, 1, 8 / 13 * (TRIMMED + 1)),
        (chain(adaptive_robust_clipping, trimmed_mean), 14, 1, TRIMMED + 2 / 12),
        (
            chain(chain(nearest_neighbor_mixing, adaptive_robust_clipping), trimmed_mean),
            14,
            1,
            8 / 13 * (TRIMMED + 2 / 12 + 1),
        ),
        (chain(PAIRS, median), 14, 1, (2 * 1.2 + math.sqrt(1 / 13)) ** 2 * 13 / 12),
        (
            chain(PAIRS, nearest_neighbor_mixing, median),
            14,
            1,
            (math.sqrt(8 / 6 * (4 * 1.2**2 + 1)) + math.sqrt(1 / 13)) ** 2 * 13 / 12,
        ),
        # q neighbours, a = q, h = 13: √(2 q h / (h - 1) / a) + √((h - a) / a).
        (functools.partial(krum, neighbours=12), 14, 1, ((13 / 6) ** 0.5 + (1 / 12) ** 0.5) ** 2),
        (krum, 14, 1, ((13 / 6) ** 0.5 + (2 / 11) ** 0.5) ** 2),
        (multi_krum, 14, 1, ((30**0.5 + (11 * 13 / 6) ** 0.5 + (2 / 11) ** 0.5) / 11) ** 2),
        (functools.partial(median, midpoint=True), 14, 1, 4 * (13 / 12) ** 2),
        (functools.partial(krum, squared=True), 14, 1, ((13 / 6) ** 0.5 + (2 / 11) ** 0.5) ** 2),
        (functools.partial(krum, neighbours=13), 14, 1, None),
        (functools.partial(chain(PAIRS, trimmed_mean), key=None), 14, 0, 0.0),
        (chain(functools.partial(bucketing, bucket_size=15), median), 14, 0, None),
        (functools.partial(krum, neighbours=12, squared=False), 14, 1, None),
        (functools.partial(geometric_median, iterations=100), 14, 1, None),
        (bulyan, 14, 1, None),
        (chain(functools.partial(clipping, radius=2.0), median), 14, 1, None),
        (chain(PAIRS, median), 14, 4, None),  # seven buckets, of which four are bad
        (median, 6, 3, None),
        (chain(lambda updates, f: updates, median), 14, 1, None),
        (lambda updates, f: median(updates), 14, 1, None),
        (safeguard(), 14, 1, None),
    ],
)
def test_the_bound_of_a_rule_as_it_is_configured(rule, n, f, expected):
    found = coefficient_bound(rule, n, f)
    assert found is None if expected is None else found == pytest.approx(expected)
    if expected is not None:
        assert resilience_bound(rule, n, f) <= math.sqrt(expected / 2 * (1 - 1 / (n - f))) + 1e-12


def test_of_lambda_what_is_known_of_it():
    assert resilience_bound(minimum_diameter_averaging, 7, 2) == pytest.approx(4 / 5)
    paired = resilience_bound(chain(PAIRS, minimum_diameter_averaging), 14, 1)
    assert paired == pytest.approx(2 / 6 + 1 / 13)
    # Behind mixing there is what follows from κ, 8 f² / (n - f) without it.
    mixed = resilience_bound(chain(nearest_neighbor_mixing, minimum_diameter_averaging), 7, 2)
    assert mixed == pytest.approx(math.sqrt(8 / 5 * (32 / 5 + 1) / 2 * 4 / 5))
    assert resilience_bound(bulyan, 14, 1) is None


def near_the_first(key, honest, num_byzantine):
    return jnp.broadcast_to(1.2 * honest[0], (num_byzantine, honest.shape[1]))


def mixed_and_trimmed(rows, f):
    kept = len(rows) - f
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    mixed = np.stack([rows[np.argsort(one, kind="stable")[:kept]].mean(axis=0) for one in apart])
    return np.sort(mixed, axis=0)[f:kept].mean(axis=0)


def test_columns_of_a_run_behind_mixing():
    n, f, noise, steps = 7, 2, 1.0, 4
    rule = chain(nearest_neighbor_mixing, trimmed_mean)
    state, metrics = run(
        Config(n=n, f=f, momentum_at=(), certify=True),
        Hyperparameters(0.3),
        rule,
        near_the_first,
        steps,
        task=quadratic(noise),
        selection=selection_of(rule),
        columns={"lambda": realised_lambda},
    )
    key = jax.random.key(0)
    start = jax.random.normal(jax.random.fold_in(key, INITIALISE), TARGET.shape)
    batches = quadratic(noise).batches({}, jax.random.fold_in(key, 1), 0, steps, n - f)
    parameters = np.asarray(start, np.float64)
    for step, batch in enumerate(np.asarray(batches, np.float64)):
        honest = parameters - TARGET - noise * batch
        made = mixed_and_trimmed(np.concatenate([honest, [1.2 * honest[0]] * f]), f)
        off = np.linalg.norm(made - honest.mean(axis=0))
        variance = np.mean(np.sum((honest - honest.mean(axis=0)) ** 2, axis=1))
        widest = max(np.linalg.norm(a - b) for a in honest for b in honest)
        assert metrics.coefficient[step] == pytest.approx(off**2 / variance, rel=1e-4)
        assert metrics.own["lambda"][step] == pytest.approx(off / widest, rel=1e-4)
        parameters = parameters - 0.3 * made
    np.testing.assert_allclose(state.parameters, parameters, rtol=1e-5)
    assert np.all(metrics.coefficient <= coefficient_bound(rule, n, f))
    assert np.all(metrics.own["lambda"] <= resilience_bound(rule, n, f))
    assert np.all((metrics.attack_acceptance >= 0) & (metrics.attack_acceptance <= 1))
