"""A chain is its parts applied by hand, one after the other."""

import functools
from collections.abc import Callable

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import preaggregators
from simbyz._arrays.calling import asks_for
from simbyz.aggregators import (
    average,
    bulyan,
    chain,
    krum,
    median,
    multi_krum,
    signguard,
    trimmed_mean,
    weighted_median,
)
from simbyz.gossip.rules import gts
from tests.support.compiled import compiled, quick_jit

pytestmark = pytest.mark.slower

N, F, D = 15, 2, 3
KEY = jax.random.key(5)
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)

mixing = preaggregators.nearest_neighbor_mixing
clipping = functools.partial(preaggregators.clipping, radius=1.5)
adaptive = preaggregators.adaptive_robust_clipping
pairs = functools.partial(preaggregators.bucketing, bucket_size=2)

# A key given beforehand: then it is the same at every call, and the chain asks for none.
fixed_pairs = functools.partial(pairs, key=KEY)


def operations(function: Callable) -> jax.extend.core.ClosedJaxpr:
    """What a function of rows and a key does: the same operations give the same bits."""
    return jax.make_jaxpr(function)(ROWS, KEY)


def assert_same_operations(one: Callable, other: Callable) -> None:
    assert str(operations(one)) == str(operations(other))


@pytest.mark.parametrize("rule", [average, median, trimmed_mean, krum, multi_krum])
@pytest.mark.parametrize("part", [mixing, clipping, adaptive, fixed_pairs])
def test_a_chain_is_its_parts_by_hand(part: Callable, rule: Callable) -> None:
    whole = operations(lambda rows, key: chain(part, rule)(rows, F))
    assert str(whole) == str(operations(lambda rows, key: rule(part(rows, F), F)))
    assert [result.shape for result in whole.out_avals] == [(D,)]


def test_many_parts_a_pytree_and_jit() -> None:
    tree = {"a": ROWS[:, 0], "b": ROWS[:, 1:].reshape(N, 2, 1)}
    rule = chain(adaptive, mixing, clipping, trimmed_mean)
    by_hand = tree
    for part in (adaptive, mixing, clipping, trimmed_mean):
        by_hand = quick_jit(functools.partial(part, f=F))(by_hand)
    result = quick_jit(functools.partial(rule, f=F))(tree)
    assert jax.tree.map(jnp.shape, result) == {"a": (), "b": (2, 1)}
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), result, by_hand)


def test_a_rule_alone_is_a_chain_and_a_chain_is_a_part() -> None:
    assert_same_operations(lambda rows, _: chain(median)(rows, F), lambda rows, _: median(rows, F))
    nested, flat = chain(chain(mixing, clipping), chain(median)), chain(mixing, clipping, median)
    assert_same_operations(lambda rows, _: nested(rows, F), lambda rows, _: flat(rows, F))
    with pytest.raises(ValueError, match="at least one part"):
        chain()
    with pytest.raises(ValueError, match="the part gts of a chain asks for weights, .* key, state"):
        chain(mixing, gts)


def test_one_part_that_asks_for_a_key_gets_the_key() -> None:
    assert_same_operations(
        lambda rows, key: chain(pairs, median)(rows, F, key=key),
        lambda rows, key: median(pairs(rows, F, key=key), F),
    )
    # Also from within a chain, and beside a part that has its key already.
    assert_same_operations(
        lambda rows, key: chain(clipping, chain(pairs, median))(rows, F, key=key),
        lambda rows, key: median(pairs(clipping(rows), F, key=key), F),
    )
    assert_same_operations(
        lambda rows, key: chain(fixed_pairs, pairs, average)(rows, F, key=key),
        lambda rows, key: average(pairs(fixed_pairs(rows, F), F, key=key), F),
    )


def test_several_parts_that_ask_for_keys_get_a_part_of_it_each() -> None:
    @quick_jit
    def both(rows, key):
        first, second = jax.random.split(key)
        result = chain(pairs, mixing, pairs, average)(rows, 1, key=key)
        by_hand = pairs(mixing(pairs(rows, 1, key=first), 1), 1, key=second)
        return result, average(by_hand, 1)

    result, by_hand = both(ROWS, KEY)
    np.testing.assert_array_equal(result, by_hand)


def test_a_key_is_asked_for_where_it_is_used_and_only_there() -> None:
    with pytest.raises(TypeError, match="key"):
        chain(pairs, median)(ROWS, F)
    with pytest.raises(TypeError, match="key"):
        chain(mixing, median)(ROWS, F, key=KEY)
    with pytest.raises(TypeError, match="key"):
        chain(fixed_pairs, median)(ROWS, F, key=KEY)


def test_a_key_that_a_part_does_without_is_not_needed() -> None:
    rule = chain(mixing, signguard)
    assert_same_operations(
        lambda rows, _: rule(rows, F), lambda rows, _: signguard(mixing(rows, F), F)
    )
    sampled = functools.partial(signguard, sample=2)
    assert_same_operations(
        lambda rows, key: chain(mixing, sampled)(rows, F, key=key),
        lambda rows, key: sampled(mixing(rows, F), F, key=key),
    )


def test_vmap_over_keys_is_a_loop() -> None:
    keys = jax.random.split(KEY, 3)
    rule = functools.partial(chain(pairs, median), ROWS, F)
    together = quick_jit(jax.vmap(lambda key: rule(key=key)))(keys)
    alone = quick_jit(lambda key: rule(key=key))
    np.testing.assert_allclose(together, [alone(key) for key in keys], rtol=1e-6)


def first_line(rule: Callable, n: int, f: int) -> str:
    """Refusals when the chain is traced, before anything is computed."""
    with pytest.raises(ValueError) as raised:
        jax.eval_shape(functools.partial(rule, f=f), jax.ShapeDtypeStruct((n, D), jnp.float32))
    # Under a transformation JAX appends a note of its own.
    return str(raised.value).splitlines()[0]


def test_the_part_that_refuses_is_named_with_the_rows_that_it_saw() -> None:
    # 13 rows are enough for krum and f = 2, their 7 buckets too; 6 buckets are not.
    rule = chain(fixed_pairs, krum)
    stack = jax.ShapeDtypeStruct((13, D), jnp.float32)
    assert jax.eval_shape(functools.partial(rule, f=2), stack).shape == (D,)
    assert first_line(rule, 12, 2) == (
        "krum needs n >= 2f + 3, got n=6, f=2 (part 2 of 2, krum, of a chain given n=12)"
    )
    assert first_line(chain(clipping, mixing, median), 4, 2) == (
        "nearest_neighbor_mixing needs n >= 2f + 1, got n=4, f=2 "
        "(part 2 of 3, nearest_neighbor_mixing, of a chain given n=4)"
    )
    # Each part has its own condition: here the last is the strictest.
    assert first_line(chain(mixing, bulyan), 10, 2).startswith("bulyan needs n >= 4f + 3, got n=10")


def test_a_chain_has_a_name() -> None:
    assert chain(pairs, median).__name__ == "chain(bucketing, median)"


def test_mixing_saves_a_rule_from_rows_that_are_not_finite_and_the_average_not() -> None:
    rows = ROWS.copy()
    rows[:F] = np.nan
    assert np.all(np.isfinite(compiled(chain(mixing, median), f=F)(rows)))
    # A NaN row stays one of the f bad rows, and the average takes none.
    assert not np.any(np.isfinite(compiled(chain(mixing, average), f=F)(rows)))


def test_masses_and_a_state_reach_the_parts_that_ask_for_them() -> None:
    masses, center = np.arange(1.0, N + 1), ROWS[0]

    def remembering(updates, f, *, state, masses):
        return updates - state[None] + masses[:, None]

    rule = chain(pairs, median)
    assert not asks_for(rule, "masses") and asks_for(rule, "key")
    assert_same_operations(
        lambda rows, _: chain(mixing, weighted_median)(rows, F, masses=masses),
        lambda rows, _: weighted_median(mixing(rows, F), F, masses=masses),
    )
    rule = chain(clipping, remembering, pairs, average)
    assert all(asks_for(rule, name) for name in ("key", "masses", "state"))
    given = {"key": KEY, "masses": masses, "state": center}
    result = quick_jit(functools.partial(rule, f=F))(ROWS, **given)
    by_hand = np.asarray(quick_jit(clipping)(ROWS)) - center + masses[:, None]
    bucketed = quick_jit(lambda rows: pairs(rows, F, key=KEY))
    by_hand = np.mean(bucketed(by_hand.astype(np.float32)), axis=0)
    np.testing.assert_allclose(result, by_hand, rtol=1e-5)
    with pytest.raises(TypeError, match="masses"):
        chain(mixing, weighted_median)(ROWS, F)


def test_a_weighted_rule_refuses_the_rows_of_buckets() -> None:
    rule = chain(fixed_pairs, weighted_median)
    with pytest.raises(ValueError, match=r"mass for each of the n=8 rows.*part 2 of 2, weighted"):
        jax.eval_shape(lambda rows: rule(rows, F, masses=np.ones(N)), ROWS)
