"""Each given row's weight in what a chain makes, against the parts applied by hand in NumPy."""

import functools

import jax
import numpy as np
import pytest

from simbyz.aggregators import (
    AGGREGATORS,
    chain,
    layerwise,
    selection_of,
    together,
    weighted_average,
)
from simbyz.attacks import inner_product_manipulation
from simbyz.preaggregators import (
    adaptive_robust_clipping,
    bucketing,
    clipping,
    nearest_neighbor_mixing,
)
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.tasks.problems import quadratic
from tests.reference import preaggregators as reference
from tests.support.compiled import quick_jit

N, F, D = 15, 2, 3
KEY = jax.random.key(5)
ORDER = np.asarray(jax.random.permutation(KEY, N))
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
RADIUS = 1.5


def matrix_of_mixing(rows):
    squares = np.square(rows[:, None] - rows[None]).sum(axis=2)
    matrix = np.zeros((N, N))
    for i in range(N):
        matrix[i, np.argsort(squares[i], kind="stable")[: N - F]] = 1 / (N - F)
    return matrix


def matrix_of_clipping(rows):
    return np.diag(np.minimum(1, RADIUS / np.linalg.norm(rows, axis=1)))


def matrix_of_adaptive(rows):
    norms = np.linalg.norm(rows, axis=1)
    longest = np.sort(norms)[N - 1 - 2 * F * (N - F) // N]
    return np.diag(np.minimum(1, longest / norms))


def matrix_of_buckets(rows):
    matrix = np.zeros((-(-N // 2), N))
    for place, row in enumerate(ORDER):
        members = min(2, N - 2 * (place // 2))
        matrix[place // 2, row] = 1 / members
    return matrix


PARTS = {
    "mixing": (nearest_neighbor_mixing, matrix_of_mixing),
    "clipping": (functools.partial(clipping, radius=RADIUS), matrix_of_clipping),
    "adaptive": (adaptive_robust_clipping, matrix_of_adaptive),
    "buckets": (functools.partial(bucketing, key=KEY, bucket_size=2), matrix_of_buckets),
}


def weights_and_aggregate(defence, rows, **given):
    """Of the selection and of the rule, in one program."""
    halves = selection_of(defence), defence
    program = quick_jit(lambda rows: [half(rows, F, **given) for half in halves])
    return [np.asarray(half) for half in program(rows)]


@pytest.mark.slower
@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_its_weights(name):
    part, by_hand = PARTS[name]
    weights, rows = weights_and_aggregate(part, ROWS)
    np.testing.assert_allclose(weights, by_hand(ROWS), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(weights @ ROWS, rows, rtol=1e-5, atol=1e-6)


# Rules whose aggregate is a weighted mean of the rows that they see.
@pytest.mark.slower
@pytest.mark.parametrize(
    ("names", "rule"),
    [
        *((("mixing",), rule) for rule in ("average", "krum", "multi_krum", "caf")),
        (("mixing",), "geometric_median"),
        (("clipping", "mixing"), "multi_krum"),
        (("clipping", "mixing"), "caf"),
        (("adaptive", "buckets"), "average"),
        (("adaptive", "buckets"), "geometric_median"),
    ],
)
def test_weighted_rows_are_the_aggregate(names, rule):
    defence = chain(*(PARTS[name][0] for name in names), AGGREGATORS[rule])
    both = together(defence, selection_of(defence))
    (aggregate, weights), alone = quick_jit(lambda rows: (both(rows, F), defence(rows, F)))(ROWS)
    np.testing.assert_allclose(weights @ ROWS, aggregate, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(aggregate, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.slower
def test_what_krum_takes_of_mixed_rows_by_hand():
    matrix = matrix_of_mixing(ROWS)
    mixed = matrix @ ROWS
    squares = np.square(mixed[:, None] - mixed[None]).sum(axis=2)
    scores = np.sort(squares, axis=1)[:, 1 : N - F - 1].sum(axis=1)
    weights, _ = weights_and_aggregate(chain(nearest_neighbor_mixing, AGGREGATORS["krum"]), ROWS)
    np.testing.assert_allclose(weights, matrix[np.argmin(scores)], rtol=1e-6)
    assert reference.nearest_neighbor_mixing(ROWS, F).shape == (N, D)


@pytest.mark.slower
def test_rows_that_are_not_finite_have_no_weight():
    rows = ROWS.copy()
    rows[3], rows[7] = np.nan, np.inf
    for part in (PARTS["mixing"][0], PARTS["clipping"][0]):
        defence = chain(part, AGGREGATORS["krum"])
        weights, aggregate = weights_and_aggregate(defence, rows)
        np.testing.assert_array_equal(weights[[3, 7]], 0)
        # Clipped, they are zero, which Krum may take.
        weighted = weights @ np.where(np.isfinite(rows), rows, 0)
        np.testing.assert_allclose(weighted, aggregate, rtol=1e-5, atol=1e-6)


@pytest.mark.slower
def test_a_chain_in_a_chain_and_a_key_and_masses():
    pairs = functools.partial(bucketing, bucket_size=2)
    inner = chain(PARTS["clipping"][0], pairs)
    defence = chain(chain(inner), AGGREGATORS["krum"])
    weights, aggregate = weights_and_aggregate(defence, ROWS, key=KEY)
    np.testing.assert_allclose(weights @ ROWS, aggregate, rtol=1e-5, atol=1e-6)
    masses = np.arange(N)
    defence = chain(nearest_neighbor_mixing, weighted_average)
    weights, _ = weights_and_aggregate(defence, ROWS, masses=masses)
    by_hand = masses / masses.sum() @ matrix_of_mixing(ROWS)
    np.testing.assert_allclose(weights, by_hand, rtol=1e-5)


def test_a_part_without_weights_is_named():
    defence = chain(nearest_neighbor_mixing, layerwise(AGGREGATORS["median"]))
    assert jax.eval_shape(lambda rows: defence(rows, F), ROWS).shape == (D,)
    with pytest.raises(ValueError, match=r"made by `halves` alone \(part 2 of 2, median"):
        jax.eval_shape(lambda rows: selection_of(defence)(rows, F), ROWS)


@pytest.mark.slower
def test_acceptance_behind_a_chain_in_the_simulator():
    """Attackers amid the honest rows are mixed into what Krum takes, far ones are not."""
    defence = chain(nearest_neighbor_mixing, AGGREGATORS["krum"])
    config = Config(n=N, f=F, momentum_at=())
    task = quadratic(KEY, config.computing, D, noise=0.1, heterogeneity=1.0).task
    accepted = []
    simulator = make_simulator(
        config, task, defence, inner_product_manipulation, selection=selection_of(defence)
    )
    advance = quick_jit(simulator.advance, static_argnums=(4, 5))
    start = jax.jit(simulator.initialise)(KEY)
    for factor in (1.0, 100.0):
        numbers = Hyperparameters(0.01, attack={"tau": -factor})
        _, metrics = advance(start, numbers, task.data, KEY, 0, 2)
        accepted.append(np.asarray(metrics.attack_acceptance)[:2])
    np.testing.assert_allclose(accepted[0], F / (N - F), rtol=1e-5)
    np.testing.assert_array_equal(accepted[1], 0)
