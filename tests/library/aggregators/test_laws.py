"""Laws that every aggregation rule obeys, for one table of configured rules.

A rule joins with one line in RULES. Shapes are fixed: every new shape compiles every rule again.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simbyz import aggregators
from tests.reference import attacks as reference_attacks
from tests.reference import center_filters as reference_center_filters
from tests.reference import rules as reference
from tests.reference import subsets as reference_subsets


class Rule(NamedTuple):
    """A rule with its conventions, and the condition n >= slope · f + offset that it checks."""

    name: str
    options: dict
    slope: int
    offset: int
    # Do f rows of nonsense leave the aggregate among the honest values?
    robust: bool = True
    # Is there one best row, whatever the order of the rows?
    orderless: bool = True
    # Laws that do not hold by the rule's very definition.
    breaks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.options.items())])

    @property
    def function(self) -> Callable:
        return functools.partial(getattr(aggregators, self.name), **self.options)

    def refer(self, rows: np.ndarray, f: int) -> np.ndarray:
        modules = (reference, reference_center_filters, reference_subsets)
        module = next(module for module in modules if hasattr(module, self.name))
        return getattr(module, self.name)(rows, f, **self.options)

    def smallest_n(self, f: int) -> int:
        return self.slope * f + self.offset


RULES = [
    Rule("average", {}, 0, 1, robust=False),
    Rule("median", {}, 2, 1),
    Rule("median", {"midpoint": True}, 2, 1),
    Rule("trimmed_mean", {}, 2, 1),
    Rule("phocas", {}, 2, 1),
    Rule("meamed", {}, 2, 1),
    Rule("meamed", {"midpoint": True}, 2, 1),
    Rule("krum", {}, 2, 3),
    Rule("krum", {"squared": False}, 2, 3),
    Rule("multi_krum", {}, 2, 3),
    Rule("multi_krum", {"squared": False, "m": 2}, 2, 3),
    # Its last choice, of 2f + 1 rows by one neighbour if f <= 2, is between two rows that are each
    # other's nearest, with equal scores: the earlier one wins.
    Rule("bulyan", {}, 4, 3, orderless=False),
    Rule("bulyan", {"variant": "released"}, 4, 3),
    Rule("bulyan", {"variant": "released", "m": 2}, 4, 3),
    # The distance below which rows pull equally has a scale; so tiny a one shows nowhere.
    Rule("geometric_median", {"smoothing": 1e-12, "start": "median"}, 2, 1),
    Rule("geometric_median", {}, 2, 1, breaks=("translation", "scaling")),
    # It starts from a given centre, here zero, and moves at most by a given radius.
    Rule(
        "centered_clipping",
        {"radius": 1.0, "iterations": 2},
        2,
        1,
        breaks=("translation", "scaling", "agreement"),
    ),
    Rule("caf", {}, 2, 1),
    # Often, two subsets share the pair that is the diameter of both: the first one wins.
    Rule("minimum_diameter_averaging", {}, 2, 1, breaks=("order",)),
    Rule("minimum_variance_averaging", {}, 2, 1),
    Rule("smea", {}, 2, 1),
    # A norm depends on where zero is.
    Rule("cge", {}, 2, 1, breaks=("translation",)),
    Rule("aksel", {}, 2, 1),
    Rule("aksel", {"mode": "n-f"}, 2, 1),
    # It trusts row 0, bad or not.
    Rule("monna", {}, 2, 1, breaks=("order", "robustness")),
    Rule("faba", {}, 2, 1),
]

# Enough for every rule at f = 2 with one row to spare, and an even number.
N, F, D = 12, 2, 3

# The rules behind the paper's compile longer: their laws are among the longer checks.
NUM_PAPER_RULES = 14


def every_rule_with(law: str | None) -> pytest.MarkDecorator:
    rules = [
        pytest.param(rule, marks=() if number < NUM_PAPER_RULES else pytest.mark.thorough)
        for number, rule in enumerate(RULES)
        if law not in rule.breaks
    ]
    return pytest.mark.parametrize("rule", rules, ids=str)


every_rule = every_rule_with(None)


few_examples = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(min_value=0, max_value=2**31 - 1)


@functools.cache
def compiled(index: int, f: int) -> Callable:
    return jax.jit(functools.partial(RULES[index].function, f=f))


def jitted(rule: Rule, f: int = F) -> Callable:
    """The compiled rule, the same one in every test: compiling is the cost."""
    return compiled(RULES.index(rule), f)


@functools.cache
def compiled_gradient(index: int) -> Callable:
    return jax.jit(jax.grad(lambda rows: jnp.sum(RULES[index].function(rows, f=F))))


def gaussian_rows(seed: int, n: int = N, d: int = D) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def assert_close(result: jax.Array, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@every_rule_with("order")
@few_examples
@given(seed=seeds)
def test_order_of_workers_does_not_matter(rule: Rule, seed: int) -> None:
    # From f = 3 on, every choice of the published Bulyan is by two neighbours or more.
    n, f = (N, F) if rule.orderless else (15, 3)
    rows = gaussian_rows(seed, n)
    shuffled = np.random.default_rng(seed + 1).permutation(rows)
    assert_close(jitted(rule, f)(shuffled), jitted(rule, f)(rows))


@every_rule_with("translation")
@few_examples
@given(seed=seeds, scale=st.sampled_from([0.125, 1.0, 8.0]))
def test_translation_moves_the_aggregate_along(rule: Rule, seed: int, scale: float) -> None:
    rows = gaussian_rows(seed)
    shift = scale * gaussian_rows(seed + 1, 1)
    assert_close(jitted(rule)(rows + shift), jitted(rule)(rows) + shift[0], 1e-4)


@every_rule_with("scaling")
@few_examples
@given(seed=seeds, scale=st.sampled_from([2.0**-20, 0.5, 2.0**20]))
def test_positive_scaling_scales_the_aggregate(rule: Rule, seed: int, scale: float) -> None:
    # By powers of two, which round nothing.
    rows = gaussian_rows(seed)
    assert_close(jitted(rule)(scale * rows) / scale, jitted(rule)(rows))


@every_rule_with("agreement")
@few_examples
@given(value=st.floats(min_value=-1e6, max_value=1e6, width=32))
def test_equal_rows_are_their_own_aggregate(rule: Rule, value: float) -> None:
    row = np.float32(value) * np.array([1, -2, 0.5], dtype=np.float32)
    result = jitted(rule)(np.broadcast_to(row, (N, D)))
    np.testing.assert_allclose(result, row, rtol=1e-6, atol=1e-30)


def assert_among(result: np.ndarray, honest: np.ndarray) -> None:
    """In every coordinate between the honest values, up to rounding; NaN is not."""
    assert np.all(honest.min(axis=0) - 1e-6 <= result)
    assert np.all(result <= honest.max(axis=0) + 1e-6)


bad_values = st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e30])


@every_rule_with("robustness")
@few_examples
@given(
    seed=seeds,
    bad=st.lists(st.lists(bad_values, min_size=D, max_size=D), min_size=F, max_size=F),
    places=st.permutations(range(N)),
)
def test_f_bad_rows_do_not_move_the_aggregate_away(
    rule: Rule, seed: int, bad: list[list[float]], places: list[int]
) -> None:
    rows = gaussian_rows(seed)
    rows[places[:F]] = bad
    honest = rows[places[F:]]
    result = np.asarray(jitted(rule)(rows))
    if not rule.robust:
        assert not np.all(np.abs(result) < 1e3)
    else:
        assert_among(result, honest)


@every_rule_with("robustness")
def test_f_rows_of_one_bad_value_do_not_move_the_aggregate_away(rule: Rule) -> None:
    if not rule.robust:
        pytest.skip("one bad row moves the average anywhere")
    honest = gaussian_rows(0)[F:]
    for value in (np.nan, np.inf, -np.inf, 1e30, -1e30):
        rows = np.concatenate([np.full((F, D), value, dtype=np.float32), honest])
        result = np.asarray(jitted(rule)(rows))
        assert_among(result, honest)


@every_rule
def test_gradient_is_finite(rule: Rule) -> None:
    gradient = compiled_gradient(RULES.index(rule))
    rows = gaussian_rows(0)
    # Among them equal rows, where a distance has no derivative.
    rows[3] = rows[7]
    result = np.asarray(gradient(rows))
    assert np.all(np.isfinite(result))
    # The aggregate moves with a translation of all rows, coordinate by coordinate.
    if "translation" not in rule.breaks:
        assert_close(result.sum(axis=0), np.ones(D))
    assert np.all(np.isfinite(gradient(np.zeros((N, D), dtype=np.float32))))


@every_rule_with("robustness")
def test_gradient_is_finite_where_bad_rows_are(rule: Rule) -> None:
    if not rule.robust:
        pytest.skip("the average of a bad row is not finite")
    gradient = compiled_gradient(RULES.index(rule))
    rows = gaussian_rows(0)
    for value in (np.nan, np.inf, -1e30):
        rows[:F] = value
        assert np.all(np.isfinite(gradient(rows))), value


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_dtype_is_kept(rule: Rule, dtype: str) -> None:
    with jax.enable_x64(dtype == "float64"):
        stack = jax.ShapeDtypeStruct((N, D), dtype)
        tree = {"a": stack, "b": [jax.ShapeDtypeStruct((N,), "float32")]}
        rule_fn = functools.partial(rule.function, f=F)
        assert jax.eval_shape(rule_fn, stack).dtype == dtype
        aggregate = jax.eval_shape(rule_fn, tree)
        assert aggregate["a"].dtype == dtype
        assert aggregate["b"][0].dtype == "float32"


@every_rule
def test_bfloat16_is_as_close_as_its_eight_bits(rule: Rule) -> None:
    rows = jnp.asarray(gaussian_rows(0), jnp.bfloat16)
    wide = np.asarray(rows.astype(jnp.float32))
    # bfloat16 rounds to 8 bits, the last step of every rule here.
    assert_close(jitted(rule)(rows).astype(jnp.float32), jitted(rule)(wide), 2.0**-7)


@every_rule
def test_jit_and_eager_agree(rule: Rule) -> None:
    rows = gaussian_rows(0)
    assert_close(jitted(rule)(rows), rule.function(rows, f=F), 1e-6)


@every_rule
def test_vmap_is_a_loop(rule: Rule) -> None:
    stacks = np.stack([gaussian_rows(seed) for seed in range(3)])
    together = jax.jit(jax.vmap(functools.partial(rule.function, f=F)))(stacks)
    alone = np.stack([jitted(rule)(stack) for stack in stacks])
    assert_close(together, alone, 1e-6)


@every_rule
def test_a_pytree_is_its_matrix(rule: Rule) -> None:
    rows = gaussian_rows(0, d=7)
    tree = {"bias": rows[:, 0], "layers": [rows[:, 1:3], rows[:, 3:].reshape(N, 2, 2)]}
    rule_fn = jitted(rule)
    aggregate = rule_fn(tree)
    assert aggregate["bias"].shape == ()
    assert aggregate["layers"][1].shape == (2, 2)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(aggregate)])
    assert_close(flat, rule_fn(rows), 1e-6)


@every_rule
def test_five_calls_are_one_trace(rule: Rule) -> None:
    num_traces = 0

    @jax.jit
    def traced(rows: jax.Array) -> jax.Array:
        nonlocal num_traces
        num_traces += 1
        return rule.function(rows, f=F)

    for seed in range(5):
        traced(gaussian_rows(seed))
    assert num_traces == 1


@every_rule
def test_the_given_rows_are_left_alone(rule: Rule) -> None:
    rows = gaussian_rows(0)
    rows[0] = np.nan
    before = rows.copy()
    rule.function(rows, f=F)
    np.testing.assert_array_equal(rows, before)


def shape_of_aggregate(rule: Rule, n: int, f: int) -> tuple[int, ...]:
    """Traces the rule: a wrong n or f raises here, before anything is computed."""
    rows = jax.ShapeDtypeStruct((n, D), jnp.float32)
    return jax.eval_shape(functools.partial(rule.function, f=f), rows).shape


@every_rule
@pytest.mark.parametrize("f", [0, 1, 2, 3])
def test_the_exact_limit_is_accepted(rule: Rule, f: int) -> None:
    assert shape_of_aggregate(rule, max(rule.smallest_n(f), m_needs(rule, f)), f) == (D,)


def m_needs(rule: Rule, f: int) -> int:
    """The smallest n that leaves room for a given m, which is at most n - f - 2 in Bulyan."""
    return rule.options.get("m", 0) + f + 2


@every_rule
@pytest.mark.parametrize("f", [1, 2, 3])
def test_one_row_fewer_is_refused(rule: Rule, f: int) -> None:
    if rule.slope == 0:
        pytest.skip("the average takes any f")
    n = rule.smallest_n(f) - 1
    with pytest.raises(ValueError) as raised:
        shape_of_aggregate(rule, n, f)
    # Under a transformation JAX appends a note of its own.
    message = str(raised.value).splitlines()[0]
    assert message == f"{rule.name} needs n >= {rule.slope}f + {rule.offset}, got n={n}, f={f}"


@every_rule
def test_a_traced_f_is_refused(rule: Rule) -> None:
    with pytest.raises(TypeError):
        jax.eval_shape(lambda f: rule.function(gaussian_rows(0), f=f), 1)


@every_rule
def test_an_f_that_is_no_count_is_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match="f >= 0, got n=12, f=-1"):
        shape_of_aggregate(rule, N, -1)
    with pytest.raises(TypeError):
        shape_of_aggregate(rule, N, 1.0)


@pytest.mark.parametrize("rule", [r for r in RULES if "krum" in r.name], ids=str)
def test_neighbours_and_m_out_of_range_are_refused(rule: Rule) -> None:
    rows = gaussian_rows(0)
    for neighbours in (0, N):
        with pytest.raises(ValueError, match=f"1 <= neighbours <= {N - 1}, got neighbours"):
            rule.function(rows, f=F, neighbours=neighbours)
    if rule.name == "multi_krum":
        for m in (0, N - F + 1):
            with pytest.raises(ValueError, match=f"1 <= m <= {N - F}, got m={m}"):
                rule.function(rows, f=F, m=m)


def test_wrong_options_of_bulyan_are_refused(unchecked_shapes) -> None:
    rows = gaussian_rows(0)
    with pytest.raises(ValueError, match="variant"):
        aggregators.bulyan(rows, F, variant="other")
    with pytest.raises(ValueError, match="released"):
        aggregators.bulyan(rows, F, m=2)
    for m in (0, N - F - 1):
        with pytest.raises(ValueError, match=f"1 <= m <= {N - F - 2}, got m={m}"):
            aggregators.bulyan(rows, F, m=m, variant="released")


def sizes(rule: Rule) -> list[tuple[int, int]]:
    """At the rule's limit, above it and without tolerance; even and odd numbers of rows."""
    limit = max(rule.smallest_n(1), m_needs(rule, 1))
    return [(limit, 1), (limit + 1, 1), (rule.smallest_n(2), 2), (N, 2), (7, 0)]


@every_rule
def test_results_are_the_references(rule: Rule) -> None:
    with jax.enable_x64(True):
        for n, f in sizes(rule):
            rule_fn = jitted(rule, f)
            for seed in range(5):
                rows = np.random.default_rng(seed).normal(size=(n, D))
                result = rule_fn(rows)
                assert result.dtype == jnp.float64
                np.testing.assert_allclose(
                    result, rule.refer(rows, f), rtol=1e-9, atol=1e-12, err_msg=f"{n=} {f=}"
                )


@every_rule_with("robustness")
def test_results_with_bad_rows_are_the_references(rule: Rule) -> None:
    if not rule.robust:
        pytest.skip("the average of a bad row is not finite")
    with jax.enable_x64(True):
        rule_fn = jitted(rule)
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
        rule_fn = jitted(rule)
        for seed in range(5):
            rows = np.random.default_rng(seed).normal(size=(N, D))
            rows[N - F :] = reference_attacks.a_little_is_enough(rows[: N - F], F)
            np.testing.assert_allclose(
                rule_fn(rows), rule.refer(rows, F), rtol=1e-9, atol=1e-12, err_msg=f"{seed=}"
            )


# An eigenvalue is rounded; `test_subsets` has what holds for smea.
EXACT_RULES = [
    r
    for r in RULES
    if r.options.get("squared", True) and "variant" not in r.options and r.name != "smea"
]


@pytest.mark.parametrize("rule", EXACT_RULES, ids=str)
def test_ties_go_to_the_smaller_value_or_the_earlier_row(rule: Rule) -> None:
    """Small integers, on which these rules round nothing before they choose."""
    with jax.enable_x64(True):
        for seed in range(20):
            rows = np.random.default_rng(seed).integers(-2, 3, size=(N, D)).astype(np.float64)
            np.testing.assert_allclose(
                jitted(rule)(rows), rule.refer(rows, F), rtol=1e-12, atol=1e-12, err_msg=f"{seed=}"
            )
