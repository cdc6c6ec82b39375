"""Laws of arrays: derivatives, dtypes, jit, lanes, pytrees, and what n and f are refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from tests.support.compiled import products_with_all_digits
from tests.support.rules import (
    FIRST_OF_NAME,
    RULES,
    D,
    F,
    N,
    Rule,
    assert_close,
    each_name,
    every_rule,
    every_rule_with,
    gaussian_rows,
    m_needs,
)

# One of a kind: each operation of an eager call is compiled, and does what it does under jit.
EAGER = (
    "median",
    "krum",
    "bulyan",
    "geometric_median",
    "caf",
    "dnc",
    "minimum_variance_averaging",
    "cge",
    "faba",
    "clipped_clustering",
)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(rule, marks=pytest.mark.slower if "robustness" in rule.breaks else [])
        for rule in RULES
    ],
    ids=str,
)
def test_gradient_is_finite(rule: Rule) -> None:
    gradient = rule.compiled_gradient()
    rows = gaussian_rows(0)
    # Among them equal rows, where a distance has no derivative.
    rows[3] = rows[7]
    result = np.asarray(gradient(rows))
    assert np.all(np.isfinite(result))
    # The aggregate moves with a translation of all rows, coordinate by coordinate.
    if "translation" not in rule.breaks:
        assert_close(result.sum(axis=0), np.ones(D))
    assert np.all(np.isfinite(gradient(np.zeros((N, D), dtype=np.float32))))
    if rule.name not in ("average", "monna"):  # a bad row reaches the aggregate of these
        for value in (np.nan, np.inf, -1e30):
            rows[:F] = value
            assert np.all(np.isfinite(gradient(rows))), value


@every_rule
def test_products_keep_all_digits_on_a_gpu(rule: Rule) -> None:
    products_with_all_digits(functools.partial(rule.function, f=F), gaussian_rows(0))


@pytest.mark.slower
@every_rule_with("pytree")
def test_dtype_of_each_leaf_is_kept(rule: Rule) -> None:
    with jax.enable_x64(True):
        dtypes = ("float32", "float64", "bfloat16")
        tree = {dtype: [jax.ShapeDtypeStruct((N, D), dtype)] for dtype in dtypes}
        aggregate = jax.eval_shape(functools.partial(rule.function, f=F), tree)
        assert {dtype: leaf.dtype for dtype, [leaf] in aggregate.items()} == dict(
            zip(dtypes, dtypes, strict=True)
        )


@pytest.mark.slower
@each_name
def test_bfloat16_is_as_close_as_its_eight_bits(rule: Rule) -> None:
    rows = jnp.asarray(gaussian_rows(0), jnp.bfloat16)
    wide = np.asarray(rows.astype(jnp.float32))
    narrow, expected = rule.compiled()(rows), rule.compiled()(wide)
    assert (narrow.dtype, expected.dtype) == ("bfloat16", "float32")
    # bfloat16 rounds to 8 bits, the last step of every rule here.
    assert_close(narrow.astype(jnp.float32), expected, 2.0**-7)


@pytest.mark.slower
@pytest.mark.parametrize("rule", [rule for rule in FIRST_OF_NAME if rule.name in EAGER], ids=str)
def test_jit_and_eager_agree(rule: Rule) -> None:
    rows = gaussian_rows(0)
    assert_close(rule.compiled()(rows), rule.function(rows, f=F), 1e-6)


@pytest.mark.slower
@each_name
def test_lanes_of_a_pytree_are_a_loop_over_its_matrices(rule: Rule) -> None:
    stacks = np.stack([gaussian_rows(seed) for seed in range(3)])
    alone = np.stack([rule.compiled()(stack) for stack in stacks])
    if "pytree" in rule.breaks:
        assert_close(rule.compiled_lanes()(stacks), alone, 1e-6)
        return
    tree = {"bias": stacks[..., 0], "layers": [stacks[..., 1:].reshape(3, N, 2, 1)]}
    aggregate = rule.compiled_lanes()(tree)
    assert aggregate["bias"].shape == (3,)
    assert aggregate["layers"][0].shape == (3, 2, 1)
    flat = np.concatenate([leaf.reshape(3, -1) for leaf in jax.tree.leaves(aggregate)], axis=1)
    assert_close(flat, alone, 1e-6)


@pytest.mark.slower
@every_rule
def test_five_calls_are_one_trace(rule: Rule) -> None:
    program = rule.compiled()
    program(gaussian_rows(0))
    before = program._cache_size()
    for seed in range(5):
        program(gaussian_rows(seed))
    assert program._cache_size() == before


def shape_of_aggregate(rule: Rule, n: int, f: int) -> tuple[int, ...]:
    """Traces the rule, of rows by NumPy as in an eager call: a wrong n or f raises here, before
    anything is computed.
    """
    return jax.eval_shape(lambda: rule.function(gaussian_rows(0, n), f=f)).shape


# At the limits of f = 1 and 2 the laws of references have every rule.
@pytest.mark.slower
@every_rule
@pytest.mark.parametrize("f", [0, 3])
def test_the_exact_limit_is_accepted(rule: Rule, f: int) -> None:
    assert shape_of_aggregate(rule, max(rule.smallest_n(f), m_needs(rule, f)), f) == (D,)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.slope], ids=str)
@pytest.mark.parametrize("f", [1, 2, 3])
def test_one_row_fewer_is_refused(rule: Rule, f: int) -> None:
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
            jax.eval_shape(functools.partial(rule.function, f=F, neighbours=neighbours), rows)
    if rule.name == "multi_krum":
        for m in (0, N - F + 1):
            with pytest.raises(ValueError, match=f"1 <= m <= {N - F}, got m={m}"):
                jax.eval_shape(functools.partial(rule.function, f=F, m=m), rows)


def test_wrong_options_of_bulyan_are_refused(unchecked_shapes) -> None:
    def call(**options):
        jax.eval_shape(functools.partial(aggregators.bulyan, f=F, **options), gaussian_rows(0))

    with pytest.raises(ValueError, match="variant"):
        call(variant="other")
    with pytest.raises(ValueError, match="released"):
        call(m=2)
    for m in (0, N - F - 1):
        with pytest.raises(ValueError, match=f"1 <= m <= {N - F - 2}, got m={m}"):
            call(m=m, variant="released")
