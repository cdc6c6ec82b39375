"""Rules that weigh rows: against plain NumPy, against repeated rows, and in the simulator."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks, data, models
from simbyz.aggregators import WEIGHTED, heaviest_share
from simbyz.attackers import identities
from simbyz.data import partition
from simbyz.defence import StatefulRule
from simbyz.order_statistics import MAX_NETWORK_ROWS
from simbyz.streams import REDRAW, of_step
from simbyz.task import Task, classification
from simbyz.training import Config, Hyperparameters, make_simulator
from simbyz.weighting import by_counts, masses_of

N, D = 9, 6
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
MASSES = np.array([3, 1, 0, 2, 5, 1, 4, 2, 1])
OPTIONS = {"smoothing": 0.01, "iterations": 20, "start": "median"}


def rule_of(name):
    rule = WEIGHTED[name]
    return jax.jit(functools.partial(rule, **OPTIONS) if "geometric" in name else rule)


RULES = {name: rule_of(name) for name in WEIGHTED}
SELECTIONS = {
    name: functools.partial(
        getattr(aggregators, f"{name}_selection"), **OPTIONS if "geometric" in name else {}
    )
    for name in WEIGHTED
}


def average_by_hand(rows, masses):
    return sum(mass * row for mass, row in zip(masses, rows, strict=True)) / sum(masses)


def median_by_hand(rows, masses):
    middle = []
    for column in np.asarray(rows, np.float64).T:
        for value in sorted(column):
            below = sum(mass for mass, own in zip(masses, column, strict=True) if own <= value)
            if 2 * below >= sum(masses):
                middle.append(value)
                break
    return np.array(middle)


def geometric_median_by_hand(rows, masses):
    rows, center = np.asarray(rows, np.float64), median_by_hand(rows, masses)
    for _ in range(OPTIONS["iterations"]):
        pulls = [
            mass / max(OPTIONS["smoothing"], np.linalg.norm(row - center))
            for mass, row in zip(masses, rows, strict=True)
        ]
        center = average_by_hand(rows, pulls)
    return center


BY_HAND = {
    "weighted_average": average_by_hand,
    "weighted_median": median_by_hand,
    "weighted_geometric_median": geometric_median_by_hand,
}


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
    "weighted_average": aggregators.average,
    "weighted_median": aggregators.median,
    "weighted_geometric_median": functools.partial(aggregators.geometric_median, **OPTIONS),
}


@pytest.mark.parametrize("name", RULES)
def test_a_mass_is_so_many_equal_rows(name):
    repeated = np.repeat(ROWS, MASSES, axis=0)
    expected = UNWEIGHTED[name](repeated)
    np.testing.assert_allclose(RULES[name](ROWS, masses=MASSES), expected, rtol=1e-5, atol=1e-6)
    if name == "weighted_median":
        np.testing.assert_array_equal(RULES[name](ROWS, masses=MASSES), expected)


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


@pytest.mark.parametrize("name", RULES)
def test_trees_lanes_and_dtypes(name):
    rule, plain = RULES[name], RULES[name](ROWS, masses=MASSES)
    tree = {"a": ROWS[:, :2].reshape(N, 2, 1), "b": ROWS[:, 2:]}
    joined = rule(tree, masses=MASSES)
    np.testing.assert_allclose(np.append(joined["a"].ravel(), joined["b"]), plain, rtol=1e-6)
    rows = np.stack([ROWS, 2 * ROWS])
    masses = np.stack([MASSES, MASSES[::-1]]).astype(np.float32)
    together = jax.vmap(lambda rows, masses: rule(rows, masses=masses))(rows, masses)
    for got, *given in zip(together, rows, masses, strict=True):
        np.testing.assert_allclose(got, rule(given[0], masses=given[1]), rtol=1e-5, atol=1e-6)
    assert rule(ROWS.astype(jnp.bfloat16), masses=MASSES).dtype == jnp.bfloat16


@pytest.mark.parametrize("name", RULES)
def test_derivatives(name):
    """Against differences, and finite under rows of NaN and equal rows."""

    def total(rows):
        return jnp.sum(jnp.cos(RULES[name](rows, masses=MASSES)))

    total, gradient_of = jax.jit(total), jax.jit(jax.grad(total))
    gradient, along = gradient_of(ROWS), np.random.default_rng(2).normal(size=ROWS.shape)
    eps = 1e-2
    difference = (total(ROWS + eps * along) - total(ROWS - eps * along)) / (2 * eps)
    assert float(np.sum(gradient * along)) == pytest.approx(float(difference), rel=0.03)
    assert np.isfinite(gradient_of(np.ones_like(ROWS))).all()
    if name != "weighted_average":
        spoiled = np.where(np.arange(N)[:, None] == 1, np.nan, ROWS).astype(np.float32)
        assert np.isfinite(gradient_of(spoiled)).all()


def test_many_rows_are_sorted_otherwise_and_give_the_same():
    rng = np.random.default_rng(3)
    n = MAX_NETWORK_ROWS + 12
    rows = rng.normal(size=(n, 3)).astype(np.float32)
    rows[5] = np.nan
    rule = RULES["weighted_median"]
    for masses in (rng.integers(0, 4, n), np.full(n, 0.1), rng.exponential(size=n)):
        clean = np.where(np.isnan(rows), np.inf, rows)
        np.testing.assert_allclose(rule(rows, masses=masses), median_by_hand(clean, masses))
    zero = jnp.zeros(n)
    assert np.isnan(jax.jit(lambda masses: rule(rows, masses=masses))(zero)).all()
    assert np.isfinite(jax.grad(lambda rows: rule(rows, masses=masses).sum())(rows)).all()


@pytest.mark.parametrize("name", RULES)
def test_traced_masses_that_are_all_0_give_nan(name):
    assert np.isnan(RULES[name](ROWS, masses=jnp.zeros(N))).all()


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("name", WEIGHTED)
def test_refused_masses(name):
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


# The simulator.

TARGETS = np.array([[0.0, 4.0], [1.0, 0.0], [2.0, 2.0], [5.0, 1.0], [3.0, -1.0]], np.float32)


def pulled():
    """Worker i pulls towards its own target, read from its batch."""

    def batches(arrays, key, first_step, num_steps, num_workers):
        return jnp.broadcast_to(arrays[:num_workers], (num_steps, num_workers, 2))

    def loss(arrays, parameters, model_state, batch, key):
        return jnp.sum(jnp.square(parameters - batch)) / 2, model_state

    return Task(
        data=jnp.asarray(TARGETS),
        initialise=lambda key: (jnp.zeros(2), {}),
        batches=batches,
        loss=loss,
        accuracy=lambda *_: jnp.float32(0),
        batch_size=1,
    )


def run(config, rule, attack=None, steps=1, task=None, rate=1.0, options=None, **more):
    task = pulled() if task is None else task
    simulator = make_simulator(config, task, rule, attack, **more)
    key = jax.random.key(0)
    hyperparameters = Hyperparameters(learning_rate=rate, attack=options or {})
    return jax.jit(simulator.advance, static_argnums=5)(
        simulator.initialise(key), hyperparameters, task.data, key, 0, steps
    )


COUNTS = np.array([10, 20, 30, 5, 100])


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_step_moves_to_what_the_masses_say(name):
    state, _ = run(
        Config(n=5, f=0, momentum_at=()),
        RULES[name].__wrapped__,
        weights=by_counts(COUNTS),
        selection=SELECTIONS[name],
    )
    np.testing.assert_allclose(state.parameters, BY_HAND[name](TARGETS, COUNTS), rtol=1e-5)


@pytest.mark.parametrize(
    ("claim", "cap", "masses"),
    [
        (None, None, [10, 20, 30, 5, 100]),
        (1e6, None, [10, 20, 30, 1e6, 1e6]),
        (np.inf, 25, [10, 20, 25, 25, 25]),
        ([7, 8], None, [10, 20, 30, 7, 8]),
        (0, None, [10, 20, 30, 0, 0]),
    ],
)
def test_claims_and_caps(claim, cap, masses):
    config = Config(n=5, f=2)
    # Counts of all workers; or of the three that hold any, where the others claim theirs.
    for counts in (COUNTS, COUNTS[:3]) if claim is not None else (COUNTS,):
        weights = by_counts(counts, claimed=claim, cap=cap)
        got = masses_of(config, weights, identities(config, jax.random.key(0)))
        np.testing.assert_array_equal(got, np.float32(masses))


def test_a_believed_claim_breaks_the_median_and_a_cap_mends_it():
    def distance(cap):
        state, _ = run(
            Config(n=5, f=1, momentum_at=()),
            aggregators.weighted_median,
            attacks.fall_of_empires,
            options={"factor": 1e3},
            weights=by_counts(COUNTS[:4], claimed=1e9, cap=cap),
        )
        return float(jnp.linalg.norm(state.parameters))

    assert distance(None) > 1e3
    assert distance(20) < 10


def test_masses_go_with_the_workers_when_they_are_redrawn():
    """Byzantine workers claim 0, whoever they are: the average is that of the honest ones."""
    config = Config(n=5, f=2, redraw=True, momentum_at=())
    rule = aggregators.weighted_average

    def attack(key, honest, count):
        return jnp.full((count, 2), 1e6)

    # Each step ends where its masses say. Draws that leave out the last two workers only, as
    # without redrawing, have one chance in 10.
    state, _ = run(config, rule, attack, steps=3, weights=by_counts(COUNTS, claimed=0))
    who = identities(config, of_step(jax.random.key(0), REDRAW, 2)).honest
    assert list(who) != [0, 1, 2]
    expected = np.average(TARGETS[who], axis=0, weights=COUNTS[who])
    np.testing.assert_allclose(state.parameters, expected, rtol=1e-5)


def test_the_average_by_counts_is_the_mean_over_all_examples():
    """Full batches of unequal workers: one step is one of full-batch gradient descent."""
    digits = data.load("digits")
    made = partition.dirichlet(jax.random.key(0), digits.train_labels, 4, alpha=0.05, minimum=8)
    assert max(made.counts) > 2 * min(made.counts)
    size = int(max(made.counts))

    def task_of(made, size):
        return classification(digits, models.Dense(hidden=4), batch_size=size, partition=made)

    rule = aggregators.weighted_average
    config = Config(n=4, f=0, momentum_at=())
    weights = by_counts(made.counts)
    state, _ = run(config, rule, task=task_of(made, size), weights=weights)
    whole, _ = run(Config(n=1, f=0, momentum_at=()), aggregators.average, task=task_of(None, 1437))
    np.testing.assert_allclose(state.parameters, whole.parameters, rtol=1e-4, atol=1e-6)


def test_a_rule_with_memory_may_ask_for_masses():
    def step(stack, f, *, state, masses):
        return state / 2 + aggregators.weighted_average(stack, f, masses=masses)

    rule = StatefulRule(step, lambda zeros: zeros, lambda state, stack, aggregate: aggregate)
    state, _ = run(Config(n=5, f=0, momentum_at=()), rule, weights=by_counts(COUNTS))
    np.testing.assert_allclose(state.parameters, average_by_hand(TARGETS, COUNTS), rtol=1e-5)


WRONG = {
    "no weighted form": (
        aggregators.krum,
        by_counts(COUNTS),
        "krum takes no masses.*weighted_average, weighted_median, weighted_geometric_median",
    ),
    "a rule that asks": (aggregators.weighted_median, None, r"give weights=by_counts\(counts\)"),
    "counts of others": (aggregators.weighted_median, by_counts([1, 2, 3]), "of 5 workers, got 3"),
    "counts of some": (
        aggregators.weighted_median,
        by_counts([1, 2, 3], claimed=1),
        "of 5 or 4 workers, got 3",
    ),
    "claims of others": (
        aggregators.weighted_median,
        by_counts(COUNTS, claimed=[1, 2]),
        r"a number or \(1,\).*got \(2,\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_weights(case):
    rule, weights, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        make_simulator(Config(n=5, f=1), pulled(), rule, attacks.nan, weights=weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(counts=[[1, 2]]), r"finite numbers \(n,\)"),
        (dict(counts=[1, -2]), "from 0 on"),
        (dict(counts=[0, 0]), "one of them positive"),
        (dict(counts=[1, np.nan]), "finite numbers"),
        (dict(counts=[1, 2], claimed=-1), "claimed must be a number from 0 on"),
        (dict(counts=[1, 2], claimed=np.nan), "claimed must be a number from 0 on"),
        (dict(counts=[1, 2], cap=0), "cap must be positive or None, got 0"),
    ],
)
def test_refused_counts(arguments, message):
    with pytest.raises(ValueError, match=message):
        by_counts(**arguments)
