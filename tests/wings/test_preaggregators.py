"""Laws that every pre-aggregator obeys, for one table of configured ones.

Shapes are fixed: every new shape compiles everything again.
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

from simbyz import aggregators, preaggregators
from tests.reference import preaggregators as reference
from tests.support.compiled import compiled, compiled_gradient, compiled_lanes, quick_jit

# With all optimisations, among the longer checks, recorded answers are compared.
pytestmark = pytest.mark.slower

KEY = jax.random.key(3)


class Part(NamedTuple):
    """A pre-aggregator with its options, and the condition n >= slope · f + 1 that it checks."""

    name: str
    options: dict
    slope: int

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.options.items() if k != "key")])

    @property
    def function(self) -> Callable:
        return functools.partial(getattr(preaggregators, self.name), **self.options)

    def refer(self, rows: np.ndarray, f: int) -> np.ndarray:
        if self.name == "bucketing":
            order = np.asarray(jax.random.permutation(KEY, len(rows)))
            return reference.buckets(rows, order, self.options["bucket_size"])
        return getattr(reference, self.name)(rows, f, **self.options)


MIXING = Part("nearest_neighbor_mixing", {}, 2)
CLIPPING = Part("clipping", {"radius": 1.5}, 0)
ADAPTIVE = Part("adaptive_robust_clipping", {}, 2)
PAIRS = Part("bucketing", {"key": KEY, "bucket_size": 2}, 0)
PARTS = [MIXING, CLIPPING, ADAPTIVE, PAIRS]

# Odd, so that the last bucket is incomplete; of the 8 buckets, krum can take f = 2 bad ones.
N, F, D = 15, 2, 3

every_part = pytest.mark.parametrize("part", PARTS, ids=str)
few_examples = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(min_value=0, max_value=2**31 - 1)


def jitted(part: Part, f: int = F) -> Callable:
    return compiled(getattr(preaggregators, part.name), f=f, **part.options)


@functools.cache
def before(part: str, rule: str) -> Callable:
    """The part in front of a rule: one chain for all tests."""
    function = next(one.function for one in PARTS if str(one) == part)
    return aggregators.chain(function, getattr(aggregators, rule))


def gaussian_rows(seed: int, n: int = N, d: int = D) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def assert_close(result: jax.Array, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("part", [MIXING, CLIPPING, ADAPTIVE], ids=str)
@few_examples
@given(seed=seeds)
def test_shuffled_workers_give_shuffled_rows(part: Part, seed: int) -> None:
    rows = gaussian_rows(seed)
    order = np.random.default_rng(seed + 1).permutation(N)
    assert_close(jitted(part)(rows[order]), np.asarray(jitted(part)(rows))[order])


@pytest.mark.parametrize("part", [MIXING, PAIRS], ids=str)
@few_examples
@given(seed=seeds, scale=st.sampled_from([0.125, 1.0, 8.0]))
def test_translation_moves_the_rows_along(part: Part, seed: int, scale: float) -> None:
    rows = gaussian_rows(seed)
    shift = scale * gaussian_rows(seed + 1, 1)
    assert_close(jitted(part)(rows + shift), np.asarray(jitted(part)(rows)) + shift, 1e-4)


@pytest.mark.parametrize("part", [MIXING, ADAPTIVE, PAIRS], ids=str)
@few_examples
@given(seed=seeds, scale=st.sampled_from([2.0**-20, 0.5, 2.0**20]))
def test_positive_scaling_scales_the_rows(part: Part, seed: int, scale: float) -> None:
    # By powers of two, which round nothing.
    rows = gaussian_rows(seed)
    assert_close(jitted(part)(scale * rows) / scale, jitted(part)(rows))


# Squares of these overflow and underflow in float32.
any_values = st.sampled_from([0.0, 1e-42, 1e-30, -0.7, 1.0, -3.0, 1e25, 3e38, np.nan, -np.inf])
any_rows = st.lists(st.lists(any_values, min_size=D, max_size=D), min_size=N, max_size=N)


@settings(few_examples, max_examples=100)
@given(rows=any_rows)
def test_no_clipped_row_is_longer_than_the_radius(rows: list[list[float]]) -> None:
    rows = np.array(rows, dtype=np.float32)
    lengths = np.linalg.norm(np.asarray(jitted(CLIPPING)(rows), dtype=np.float64), axis=1)
    assert np.all(lengths <= 1.5 * (1 + 1e-6))
    # A finite row keeps its direction: it is not just zeroed. Beyond 1e38 its norm is no float32.
    long = np.all(np.isfinite(rows), axis=1) & np.any(np.abs(rows) > 2, axis=1)
    long &= np.all(np.abs(rows) < 1e38, axis=1)
    assert_close(lengths[long], np.full(np.sum(long), 1.5), 1e-6)


def test_adaptive_clipping_shortens_the_k_longest_rows() -> None:
    rows = gaussian_rows(0)
    before = np.linalg.norm(rows, axis=1)
    order = np.argsort(before)
    num_clipped = 2 * F * (N - F) // N
    result = np.asarray(jitted(ADAPTIVE)(rows))
    kept, cut = order[: N - num_clipped], order[N - num_clipped :]
    np.testing.assert_array_equal(result[kept], rows[kept])
    assert_close(np.linalg.norm(result[cut], axis=1), np.full(num_clipped, before[kept[-1]]))


bad_values = st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e30])
bad_rows = st.lists(st.lists(bad_values, min_size=D, max_size=D), min_size=F, max_size=F)


@every_part
@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum"])
@few_examples
@given(seed=seeds, bad=bad_rows, places=st.permutations(range(N)))
def test_f_bad_rows_leave_a_robust_rule_behind_bounded(
    part: Part, rule: str, seed: int, bad: list[list[float]], places: list[int]
) -> None:
    rows = gaussian_rows(seed)
    rows[places[:F]] = bad
    result = np.asarray(compiled(before(str(part), rule), f=F)(rows))
    longest = np.max(np.linalg.norm(rows[places[F:]], axis=1))
    # Bad rows come out at most as long as the radius; NaN fails the comparison.
    assert np.all(np.abs(result) <= max(longest, 1.5) * (1 + 1e-6))


@every_part
def test_gradient_is_finite(part: Part) -> None:
    gradient = compiled_gradient(before(str(part), "median"), f=F)
    rows = gaussian_rows(0)
    rows[3] = rows[7]
    rows[4] = 0
    assert np.all(np.isfinite(gradient(rows)))
    assert np.all(np.isfinite(gradient(np.zeros((N, D), dtype=np.float32))))
    for value in (np.nan, np.inf, -1e30):
        rows[:F] = value
        assert np.all(np.isfinite(gradient(rows))), value


def test_gradient_of_clipping_is_that_of_its_formula() -> None:
    row = np.array([[3.0, 0.0, 4.0]], dtype=np.float32)
    direction = row[0] / 5
    by_row, by_radius = quick_jit(
        jax.jacobian(lambda x, radius: preaggregators.clipping(x, radius=radius), (0, 1))
    )(row, 1.5)
    assert_close(by_row[0, :, 0], 1.5 / 5 * (np.eye(3) - np.outer(direction, direction)), 1e-6)
    assert_close(by_radius[0], direction)


@pytest.mark.parametrize("unit", [1e-20, 1e15])
def test_gradient_of_clipping_has_no_scale(unit: float) -> None:
    """The square of such a norm, or one over it, is no float32."""
    row = np.float32(unit) * np.array([[3.0, 0.0, 4.0]], dtype=np.float32)
    direction = np.array([0.6, 0, 0.8])
    clip = functools.partial(preaggregators.clipping, radius=np.float32(unit))
    by_row = quick_jit(jax.jacobian(clip))(row)
    assert_close(by_row[0, :, 0], 1 / 5 * (np.eye(3) - np.outer(direction, direction)), 1e-5)


@every_part
def test_dtype_of_each_leaf_is_kept(part: Part) -> None:
    with jax.enable_x64(True):
        dtypes = ("float32", "float64", "bfloat16")
        tree = {dtype: [jax.ShapeDtypeStruct((N, D), dtype)] for dtype in dtypes}
        result = jax.eval_shape(functools.partial(part.function, f=F), tree)
        assert [result[dtype][0].dtype for dtype in dtypes] == list(dtypes)


@every_part
def test_bfloat16_is_as_close_as_its_eight_bits(part: Part) -> None:
    rows = jnp.asarray(gaussian_rows(0), jnp.bfloat16)
    wide = np.asarray(rows.astype(jnp.float32))
    narrow = jitted(part)(rows)
    assert narrow.dtype == "bfloat16"
    assert_close(narrow.astype(jnp.float32), jitted(part)(wide), 2.0**-7)


@pytest.mark.parametrize("part", [MIXING, PAIRS], ids=str)
def test_jit_and_eager_agree(part: Part) -> None:
    rows = gaussian_rows(0)
    rows[0] = np.nan
    assert_close(jitted(part)(rows), part.function(rows, f=F), 1e-6)


@every_part
def test_lanes_of_a_pytree_are_a_loop_over_its_matrices(part: Part) -> None:
    stacks = np.stack([gaussian_rows(seed) for seed in range(3)])
    alone = np.stack([jitted(part)(stack) for stack in stacks])
    tree = {"bias": stacks[..., 0], "layers": [stacks[..., 1:].reshape(3, N, 2, 1)]}
    together = compiled_lanes(getattr(preaggregators, part.name), f=F, **part.options)(tree)
    assert [leaf.shape[2:] for leaf in jax.tree.leaves(together)] == [(), (2, 1)]
    flat = [np.reshape(leaf, (*alone.shape[:2], -1)) for leaf in jax.tree.leaves(together)]
    assert_close(np.concatenate(flat, axis=2), alone, 1e-6)


def shape_of_result(part: Part, n: int, f: int) -> tuple[int, ...]:
    """Of rows by NumPy, as in an eager call."""
    return jax.eval_shape(lambda: part.function(gaussian_rows(0, n), f=f)).shape


@every_part
@pytest.mark.parametrize("f", [0, 1, 2])
def test_the_exact_limit_is_accepted_and_one_row_fewer_refused(part: Part, f: int) -> None:
    n = max(part.slope * f + 1, part.options.get("bucket_size", 1))
    assert shape_of_result(part, n, f) == (1 if part is PAIRS else n, D)
    if part.slope and f:
        with pytest.raises(ValueError) as raised:
            shape_of_result(part, n - 1, f)
        message = str(raised.value).splitlines()[0]
        assert message == f"{part.name} needs n >= {part.slope}f + 1, got n={n - 1}, f={f}"


@every_part
def test_an_f_that_is_no_count_is_refused(part: Part) -> None:
    with pytest.raises(ValueError, match=f"{part.name} needs f >= 0, got n=15, f=-1"):
        shape_of_result(part, N, -1)
    with pytest.raises(TypeError):
        shape_of_result(part, N, 1.0)
    with pytest.raises(TypeError):
        jax.eval_shape(lambda f: part.function(gaussian_rows(0), f=f), 1)


def test_a_bucket_size_out_of_range_is_refused() -> None:
    for size in (0, N + 1):
        with pytest.raises(ValueError, match=f"1 <= bucket_size <= 15, got bucket_size={size}"):
            preaggregators.bucketing(gaussian_rows(0), F, key=KEY, bucket_size=size)


@every_part
def test_results_are_the_references(part: Part) -> None:
    with jax.enable_x64(True):
        for n, f in [(N, F), (N, 7), (8, 3), (3, 0)]:
            for seed in range(4):
                generator = np.random.default_rng(seed)
                rows = generator.normal(size=(n, D))
                if seed % 2:
                    rows[: f // 2] = generator.choice([np.nan, np.inf, 1e30], size=(f // 2, D))
                    # A tie between two rows and a copy: the earlier one is taken.
                    rows[-1] = rows[-2]
                np.testing.assert_allclose(
                    jitted(part, f)(rows), part.refer(rows, f), 1e-9, 1e-12, err_msg=f"{n=} {f=}"
                )


def test_of_equally_far_rows_the_earlier_one_is_mixed_in() -> None:
    # Small integers, whose distances are exact.
    for seed in range(20):
        rows = np.random.default_rng(seed).integers(-2, 3, size=(N, D)).astype(np.float32)
        assert_close(jitted(MIXING)(rows), MIXING.refer(rows, F), 1e-6)


def test_a_wide_stack_is_mixed_chunk_by_chunk() -> None:
    rows = gaussian_rows(0, d=2**17 // N * 2 + 5)  # chunks of 2^17 values
    assert_close(jitted(MIXING)(rows), MIXING.refer(rows, F), 1e-6)


def test_many_rows_are_the_references() -> None:
    rows = gaussian_rows(0, n=300)
    for part in (MIXING, ADAPTIVE):
        assert_close(jitted(part, 140)(rows), part.refer(rows, 140))
    for size in (7, 150):
        many = Part("bucketing", {"key": KEY, "bucket_size": size}, 0)
        assert_close(jitted(many, 0)(rows), many.refer(rows, 0))


def test_buckets_are_of_another_order_with_another_key() -> None:
    rows = gaussian_rows(0)
    in_pairs = quick_jit(functools.partial(preaggregators.bucketing, f=F, bucket_size=2))
    assert not np.allclose(in_pairs(rows, key=KEY), in_pairs(rows, key=jax.random.key(4)))


def test_a_bucket_of_large_rows_is_a_float() -> None:
    rows = gaussian_rows(0, n=11)
    rows = np.asarray(rows / np.abs(rows).max() * 3e38, np.float32)
    for size in (2, 3):
        part = Part("bucketing", {"key": KEY, "bucket_size": size}, 0)
        expected = part.refer(rows.astype(np.float64), 0) / 3e38
        got = np.asarray(jitted(part, 0)(rows), np.float64) / 3e38
        np.testing.assert_allclose(got, expected, atol=1e-6)
