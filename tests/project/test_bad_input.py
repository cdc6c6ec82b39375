"""Wrong inputs, one a row: each gets one clear error that says what was got and what is allowed."""

import functools
import inspect
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simbyz import aggregators, attacks, preaggregators, records, theory
from simbyz.aggregators import AGGREGATORS, SELECTIONS, chain
from simbyz.attacks import ATTACKS
from simbyz.data import load, partition
from simbyz.simulator.config import Config
from simbyz.simulator.server import check_rule
from simbyz.sweeps import checkpoints
from simbyz.sweeps.checkpoints import Checkpoints

KEY = jax.random.key(0)
ROWS = np.ones((9, 4), np.float32)
LABELS = np.arange(40) % 10
PAIRS = functools.partial(preaggregators.bucketing, bucket_size=2)


def traced(rule: Any, **options: Any) -> Any:
    """A call for which nothing is compiled."""
    return lambda: jax.eval_shape(lambda: rule(ROWS, 2, **options))


# (what is called, the error, what its message says)
CALLS = {
    # rules
    "no array": (lambda: aggregators.median([]), ValueError, "at least one array, got an empty"),
    "no worker": (lambda: aggregators.median(ROWS[:0]), ValueError, "n >= 1 workers, got n=0"),
    "a scalar": (lambda: aggregators.median(np.float32(1)), ValueError, r"axis.*got shapes \[\(\)"),
    "integers": (lambda: aggregators.median(LABELS[:, None]), ValueError, "floating point.*int"),
    "a rule within a rule that needs a key": (
        lambda: aggregators.median_of_means(ROWS, 2, rule=aggregators.dnc),
        ValueError,
        "the rule dnc of median_of_means asks for key, .*: bind it, as by functools.partial$",
    ),
    "a rule within a rule that needs masses": (
        lambda: aggregators.gas(ROWS, 2, rule=aggregators.weighted_median),
        ValueError,
        "the rule weighted_median of gas asks for masses",
    ),
    "a rule within optax that needs more than a key": (
        lambda: aggregators.as_gradient_transformation(aggregators.fltrust, f=2),
        ValueError,
        "the rule fltrust of as_gradient_transformation asks for trusted, .* ask for some of key",
    ),
    "a rule that remembers, layer by layer": (
        lambda: aggregators.layerwise(aggregators.safeguard()),
        TypeError,
        r"rule must be a function, such as simbyz.aggregators.median, got StatefulRule\(",
    ),
    "a rule that remembers, in layers": (
        lambda: aggregators.in_layers(aggregators.safeguard(), lambda row: row),
        TypeError,
        r"rule must be a function, such as simbyz.aggregators.lasa, got StatefulRule\(",
    ),
    "what makes a rule, in a chain": (
        lambda: aggregators.chain(aggregators.median, aggregators.safeguard),
        TypeError,
        r"each part of a chain must be a function of \(updates, f\), .* got safeguard, .* call it",
    ),
    "what makes a rule, drawn": (
        lambda: aggregators.mixture([aggregators.median, aggregators.foolsgold]),
        TypeError,
        "each rule of a mixture must be a function of .* got foolsgold, .* call it",
    ),
    "what makes a rule, layer by layer": (
        lambda: aggregators.layerwise(aggregators.bant),
        TypeError,
        "rule must be a function of .* such as simbyz.aggregators.median, got bant, .* call it",
    ),
    "what makes a rule, in layers": (
        lambda: aggregators.in_layers(aggregators.fedlaw, lambda row: row),
        TypeError,
        "rule must be a function of .* such as simbyz.aggregators.lasa, got fedlaw, .* call it",
    ),
    "what makes a rule, within a rule": (
        lambda: aggregators.median_of_means(ROWS, 2, rule=aggregators.safeguard),
        TypeError,
        "rule must be a function of .* got safeguard, .* call it",
    ),
    "what makes a rule, in a run": (
        lambda: check_rule(aggregators.fldetector, None),
        TypeError,
        "rule must be a function of .* got fldetector, .* call it",
    ),
    "bytes": (
        lambda: aggregators.krum(jnp.zeros((9, 4), jnp.float8_e4m3fn), 2),
        ValueError,
        r"16 bits or more, got dtypes \['float8_e4m3fn'\]: .* \.astype\(jnp.float32\)",
    ),
    "text": (lambda: aggregators.median("rows"), (TypeError, ValueError), "rows|dtype|type"),
    "leaves that disagree on n": (
        lambda: aggregators.median({"a": ROWS, "b": ROWS[:3]}),
        ValueError,
        r"leading axis of n workers, got shapes \[\(9, 4\), \(3, 4\)\]",
    ),
    "f too large": (lambda: aggregators.median(ROWS, 5), ValueError, r"n >= 2f \+ 1, got n=9, f=5"),
    "f negative": (lambda: aggregators.krum(ROWS, -1), ValueError, "f >= 0, got n=9, f=-1"),
    "f a fraction": (lambda: aggregators.krum(ROWS, 1.5), TypeError, "int, got 1.5"),
    "f traced": (lambda: jax.jit(aggregators.krum)(ROWS, 2), TypeError, "traced|concrete|Tracer"),
    "f too large for krum": (lambda: aggregators.krum(ROWS, 4), ValueError, r"2f \+ 3, got n=9"),
    "f too large for bulyan": (lambda: aggregators.bulyan(ROWS, 2), ValueError, r"4f \+ 3, got"),
    "m too large": (traced(aggregators.multi_krum, m=10), ValueError, "m <= .*got m=10"),
    "m zero": (traced(aggregators.multi_krum, m=0), ValueError, "1 <= m.*got m=0"),
    "neighbours": (traced(aggregators.krum, neighbours=9), ValueError, "got neighbours=9"),
    "variant": (lambda: aggregators.bulyan(ROWS, 1, variant="new"), ValueError, '"released", got'),
    "m of the published variant": (
        lambda: aggregators.bulyan(ROWS, 1, m=2),
        ValueError,
        "released variant only, got m=2",
    ),
    "start": (lambda: aggregators.geometric_median(ROWS, start="one"), ValueError, '"median", got'),
    "no iteration": (
        lambda: aggregators.geometric_median(ROWS, iterations=0),
        ValueError,
        "iterations >= 1, got iterations=0",
    ),
    "no radius": (lambda: aggregators.centered_clipping(ROWS), TypeError, "radius"),
    "center": (
        lambda: aggregators.centered_clipping(ROWS, radius=1.0, center=np.ones(3, np.float32)),
        ValueError,
        "4 coordinates, the row given 3",
    ),
    "mode": (lambda: aggregators.aksel(ROWS, 2, mode="half"), ValueError, 'modes "mid" and "n-f"'),
    "index": (lambda: aggregators.monna(ROWS, 2, index=9), ValueError, "0 <= index < n, got index"),
    "no key": (lambda: aggregators.dnc(ROWS, 2), TypeError, "key"),
    "sample": (lambda: aggregators.dnc(ROWS, 2, key=KEY, sample=0), ValueError, "sample >= 1"),
    "sample without a key": (
        lambda: aggregators.signguard(ROWS, 2, sample=2),
        ValueError,
        "signguard takes a sample together with a key",
    ),
    "a bound above all": (
        lambda: aggregators.signguard(ROWS, 2, lower=np.inf),
        ValueError,
        "lower of signguard must be at most 1, got inf",
    ),
    "a bound below all": (
        lambda: aggregators.signguard(ROWS, 2, upper=0.5),
        ValueError,
        "upper of signguard must be at least 1, got 0.5",
    ),
    "trusted": (
        lambda: aggregators.fltrust(ROWS, 2, trusted=np.ones(5, np.float32)),
        ValueError,
        "4 coordinates, the row given 5",
    ),
    "linkage": (
        lambda: aggregators.clipped_clustering(ROWS, 2, history=ROWS[:, 0], linkage="ward"),
        ValueError,
        '"average" and "single", got',
    ),
    "too many subsets": (
        lambda: aggregators.smea(np.ones((60, 2), np.float32), 20),
        ValueError,
        "at most 50,000,000 subsets, got n=60, f=20",
    ),
    "an empty chain": (lambda: chain(), ValueError, "at least one part"),
    "a chain that leaves too few": (
        lambda: chain(PAIRS, aggregators.krum)(ROWS, 2, key=KEY),
        ValueError,
        r"n >= 2f \+ 3, got n=5",
    ),
    "a key nobody asked for": (
        lambda: aggregators.as_gradient_transformation(aggregators.median, 2, key=KEY),
        ValueError,
        "asks for none",
    ),
    "bucket size": (
        lambda: preaggregators.bucketing(ROWS, 2, key=KEY, bucket_size=0),
        ValueError,
        "1 <= bucket_size <= 9, got bucket_size=0",
    ),
    "f of a mixing": (
        lambda: preaggregators.nearest_neighbor_mixing(ROWS, 5),
        ValueError,
        r"n >= 2f \+ 1, got n=9, f=5",
    ),
    # attacks
    "attackers negative": (
        lambda: attacks.fall_of_empires(KEY, ROWS, -1),
        ValueError,
        "num_byzantine must be at least 0, got -1",
    ),
    "attackers a fraction": (
        lambda: attacks.fall_of_empires(KEY, ROWS, 0.5),
        TypeError,
        "int, got 0.5",
    ),
    "one honest row": (
        lambda: attacks.a_little_is_enough(KEY, ROWS[:1], 1),
        ValueError,
        "at least 2 honest rows",
    ),
    "known": (
        lambda: attacks.a_little_is_enough(KEY, ROWS, 1, known=10),
        ValueError,
        "from 1 to 9 honest rows, or None, got 10",
    ),
    "reading": (lambda: attacks.z_max(9, 2, reading="some"), ValueError, '"honest" or "all", got'),
    "a Byzantine majority": (lambda: attacks.z_max(9, 6), ValueError, "f <= n / 2, got n=9, f=6"),
    "worker": (lambda: attacks.mimic(KEY, ROWS, 1, worker=9), ValueError, "0 to h - 1 = 8, got 9"),
    "bits": (lambda: attacks.bit_flipping(KEY, ROWS, 1, bits=(40,)), ValueError, "1 to 32, got"),
    "direction": (
        lambda: attacks.min_max(KEY, ROWS, 1, direction="up"),
        ValueError,
        '"unit", "sign" or "deviation", got',
    ),
    "bound": (lambda: attacks.min_sum(KEY, ROWS, 1, bound="no"), ValueError, '"smallest", got'),
    "a direction of a search": (
        lambda: attacks.adaptive("up", aggregators.median),
        ValueError,
        "direction must be one of .* got 'up'",
    ),
    "no climber": (
        lambda: attacks.gradient_ascent(aggregators.median, climbers=0),
        ValueError,
        "climbers >= 1.*got climbers=0",
    ),
    # the simulator
    "workers": (lambda: Config(n=0, f=0), ValueError, "n must be at least 1, got 0"),
    "f of a run": (lambda: Config(n=5, f=-1), ValueError, "f must be at least 0, got -1"),
    "attackers present": (lambda: Config(n=5, f=1, num_byzantine=6), ValueError, "to n = 5, got 6"),
    "nobody computes": (lambda: Config(n=5, f=1, num_byzantine=5), ValueError, "take fewer"),
    "place of momentum": (
        lambda: Config(n=5, f=1, momentum_at=("client",)),
        ValueError,
        "takes worker, update and server, got",
    ),
    "evaluations": (
        lambda: Config(n=5, f=1, evaluate_every=0),
        ValueError,
        "at least 1 or None, got 0",
    ),
    # data
    "data set": (lambda: load("imagenet"), ValueError, "'imagenet', expected one of .*mnist"),
    "alpha": (
        lambda: partition.dirichlet(KEY, LABELS, 4, alpha=-1, minimum=1),
        ValueError,
        "alpha must be positive and finite, got -1",
    ),
    "minimum": (
        lambda: partition.dirichlet(KEY, LABELS, 4, alpha=1, minimum=11),
        ValueError,
        "from 1 to 10.*got 11",
    ),
    "gamma": (
        lambda: partition.gamma_similarity(KEY, LABELS, 4, gamma=2),
        ValueError,
        "gamma must be from 0 to 1, got 2",
    ),
    "shards": (lambda: partition.label_shards(KEY, LABELS, 4, k=11), ValueError, "1 to 10.*got 11"),
    "more workers than examples": (
        lambda: partition.iid(KEY, LABELS, 41),
        ValueError,
        "n=41 workers needs an example, got 40",
    ),
    "an integer for a key": (lambda: partition.iid(0, LABELS, 4), TypeError, "jax.random.key"),
    "labels that are no ints": (
        lambda: partition.iid(KEY, LABELS / 2, 4),
        TypeError,
        "ints, got float",
    ),
    "a share": (
        lambda: partition.long_tail(KEY, LABELS, 2, ratio=2, share="iid"),
        TypeError,
        "share must be a function",
    ),
    # theory and results
    "a bound that is not": (lambda: theory.krum_bound(5, 2), ValueError, r"2f \+ 3, got n=5, f=2"),
    "no seed": (lambda: records.run_path("r", "a", {}), ValueError, "has no seed"),
    "no name": (lambda: records.run_path("r", "", {"seed": 1}), ValueError, "can't name a file"),
    "a name with a path": (
        lambda: records.run_path("r", "../a", {"seed": 1}),
        ValueError,
        "can't name a file",
    ),
    "seconds between checkpoints": (
        lambda: Checkpoints(Path("c"), -1, {}, bool),
        ValueError,
        "checkpoint_every must be at least 0 seconds, inf for none, got -1",
    ),
    "no checkpoint": (lambda: checkpoints.load(Path(__file__)), ValueError, "it is damaged"),
    "no folder": (lambda: records.read_runs("nowhere"), FileNotFoundError, "no results folder now"),
}


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("case", CALLS)
def test_calls(case):
    call, error, message = CALLS[case]
    with pytest.raises(error, match=message):
        call()


def shape_of(call: Any) -> Any:
    """The shape and dtype that a call would give, or the error that the documentation allows."""
    try:
        return jax.eval_shape(call)
    except (ValueError, TypeError) as error:
        assert str(error)
        return None


SHAPES = st.lists(st.integers(0, 7), max_size=3).map(tuple)
DTYPES = st.sampled_from(["float32", "bfloat16", "float16", "int32", "bool", "complex64"])
COUNTS = st.one_of(st.integers(-2, 8), st.sampled_from([None, 1.0, "2", np.int64(1), True]))
EXTRAS = {"key": KEY, "radius": 1.0, "trusted": np.ones(3, np.float32), "tau": 0.1}
FUZZ = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def options_of(function: Any) -> dict:
    asked = inspect.signature(function).parameters
    return {name: value for name, value in EXTRAS.items() if name in asked}


@pytest.mark.thorough
@pytest.mark.usefixtures("unchecked_shapes")
@FUZZ
@given(st.sampled_from(sorted(AGGREGATORS)), SHAPES, DTYPES, COUNTS)
def test_rules_take_or_refuse_any_shape(name, shape, dtype, f):
    updates = jnp.ones(shape, dtype)
    for function in (AGGREGATORS[name], SELECTIONS[name]):
        result = shape_of(lambda: function(updates, f, **options_of(function)))  # noqa: B023
        if result is not None:
            assert jnp.issubdtype(updates.dtype, jnp.floating)
            rule = function is AGGREGATORS[name]
            assert result.shape == (shape[1:] if rule else shape[:1])
            assert not rule or result.dtype == updates.dtype


@pytest.mark.thorough
@pytest.mark.usefixtures("unchecked_shapes")
@FUZZ
@given(st.sampled_from(sorted(ATTACKS)), SHAPES, DTYPES, COUNTS)
def test_attacks_take_or_refuse_any_shape(name, shape, dtype, count):
    honest = jnp.ones(shape, dtype)
    attack = ATTACKS[name]
    more = {"f": 1} if "f" in inspect.signature(attack).parameters else {}
    result = shape_of(lambda: attack(KEY, honest, count, **options_of(attack), **more))
    if result is not None:
        assert result.shape == (int(count), *shape[1:])
        assert result.dtype == honest.dtype
