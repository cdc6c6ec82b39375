"""Attacks at the edges: few bits, one coordinate, one honest worker, huge and tiny rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.attacks import ATTACKS
from simbyz.attacks.searched.adaptive import worth_of
from simbyz.attacks.searched.gradient_ascent import SYMMETRIES, gradient_ascent
from tests.reference import attacks as reference_attacks
from tests.support.compiled import compiled, quick_jit

KEY = jax.random.key(0)

# Those with a definition to compute once more, with the options that have no default.
DEFINED: dict[str, dict] = {
    "a_little_is_enough": {},
    "fall_of_empires": {},
    "inner_product_manipulation": {"tau": 2.0},
    "hidden_vulnerability": {"factor": 3.0},
    "sign_flipping": {},
    "sparse": {},
    "sparse_optimised": {},
    "scaled_sign_flipping": {},
    "full_gradient_negation": {},
    "mimic": {},
    "min_max": {},
    "min_sum": {},
    "fang_krum": {"f": 1},
    "anti_cge": {"f": 3},
    "byz_mean": {},
    "relocated_orthogonal_perturbation": {},
}
NEED_TWO = {
    "a_little_is_enough",
    "sparse",
    "sparse_optimised",
    "min_max",
    "min_sum",
    "byz_mean",
}
# h honest rows of d coordinates, attackers.
SIZES = [(7, 5, 3), (7, 1, 2), (9, 300, 1), (1, 3, 3)]


def rows(h, d, dtype):
    return np.random.default_rng(1).normal(0.5, 1, (h, d)).astype(jnp.dtype(dtype))


def cases(name, dtypes):
    """(honest rows, attackers) of each dtype and size, but for those without a definition."""
    for h, d, num_byzantine in SIZES:
        # A single honest row has no deviation, is the longest and shortest of all; a direction
        # orthogonal to the only one there is, is none.
        undefined = {1: NEED_TWO | {"anti_cge"}}.get(h, set())
        if h <= num_byzantine or d == 1:
            undefined = undefined | {"relocated_orthogonal_perturbation"}
        if name not in undefined:
            yield from ((rows(h, d, dtype), num_byzantine) for dtype in dtypes)


@pytest.mark.slower
@pytest.mark.parametrize("dtypes", [("float64",), ("float32", "float16", "bfloat16")], ids=str)
@pytest.mark.parametrize("name", DEFINED)
def test_every_definition_in_every_dtype_and_size(name, dtypes):
    """To a few roundings of the dtype: nothing is computed in fewer bits than float32."""
    with jax.enable_x64("float64" in dtypes):
        stacks, counts = zip(*cases(name, dtypes), strict=True)
        attack = functools.partial(ATTACKS[name], KEY, **DEFINED[name])
        sent = quick_jit(lambda stacks: [*map(attack, stacks, counts)])(stacks)
        assert {each.dtype.name for each in sent} == set(dtypes)
        for honest, num_byzantine, got in zip(stacks, counts, sent, strict=True):
            exact = honest.astype(np.float64)
            expected = getattr(reference_attacks, name)(exact, num_byzantine, **DEFINED[name])
            eps = float(jnp.finfo(honest.dtype).eps)
            # The attack on CGE keeps off by as much as norms are rounded by in float32.
            single = float(jnp.finfo(jnp.promote_types(honest.dtype, jnp.float32)).eps)
            size = max(np.abs(exact).max(), np.abs(expected).max())
            np.testing.assert_allclose(
                np.asarray(got, np.float64),
                np.broadcast_to(expected, got.shape),
                rtol=0,
                atol=(2 * eps + 32 * single) * size,
            )


@pytest.mark.slower
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_attackers_of_cge_are_kept_in_few_bits(dtype):
    honest = rows(7, 20, dtype)
    sent = compiled(attacks.anti_cge, num_byzantine=3, f=3)(KEY, honest)
    kept = compiled(aggregators.SELECTIONS["cge"], f=3)(np.concatenate([honest, sent]))
    assert np.all(np.asarray(kept)[7:] > 0)


@pytest.mark.slower
def test_the_norm_of_a_long_row_in_few_bits():
    """Its square is no float16."""
    honest = 4 * rows(3, 70_000, np.float16)
    attack = attacks.relocated_orthogonal_perturbation
    got = compiled(attack, num_byzantine=1, size=200.0)(KEY, honest)
    exact = honest.astype(np.float64)
    expected = reference_attacks.relocated_orthogonal_perturbation(exact, 1, size=200.0)
    np.testing.assert_allclose(np.asarray(got[0], np.float64), expected, atol=2e-2)


@pytest.mark.parametrize("attack", [attacks.min_max, attacks.min_sum])
@pytest.mark.parametrize(
    "direction",
    ["deviation", *(pytest.param(d, marks=pytest.mark.slower) for d in ("unit", "sign"))],
)
def test_rows_of_any_size(attack, direction):
    """A power of two rounds nothing, and squares leave the range of float32."""
    send = jax.jit(lambda honest: attack(KEY, honest, 1, direction=direction))
    honest = rows(7, 5, np.float32)
    for factor in np.float32([2.0**55, 2.0**-55, 2.0**110, 2.0**-100]):
        np.testing.assert_array_equal(send(factor * honest), factor * np.asarray(send(honest)))


DEGENERATE = {
    "equal": np.ones((8, 4)),
    "zero": np.zeros((8, 4)),
    "two": np.repeat([[1.0, 2, 3, 4], [-1, 0, 0, 2]], 4, axis=0),
    "huge": 1e18 * np.random.default_rng(0).normal(size=(8, 4)),
    "tiny": 1e-25 * np.random.default_rng(0).normal(size=(8, 4)),
}


@pytest.mark.slower
@pytest.mark.parametrize("name", ["krum", "phocas", "caf", "bulyan"])
def test_a_climb_from_degenerate_rows_is_never_weaker_than_its_starts(name):
    """Attackers that send NaN and infinities among them."""
    rule = aggregators.AGGREGATORS[name]
    starts = (attacks.a_little_is_enough, attacks.nan, attacks.inf, attacks.zero)

    @quick_jit
    def worths(honest):
        climb = gradient_ascent(
            rule, symmetry=SYMMETRIES.get(name), starts=starts, iterations=1, climbers=1
        )
        sent = jnp.stack([attack(KEY, honest, 1) for attack in (climb, *starts)])
        return jax.lax.map(lambda byzantine: jnp.sum(worth_of(rule, honest, 1)(byzantine)), sent)

    for honest in DEGENERATE.values():
        climbed, *started = np.asarray(worths(honest.astype(np.float32)))
        assert climbed >= np.nanmax(started)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_factor_of_minus_the_mean_leaves_what_is_not_rounded(dtype):
    rows = np.random.default_rng(0).normal(1, 0.05, size=(9, 20)).astype(jnp.dtype(dtype))
    attack = compiled(attacks.hidden_vulnerability, num_byzantine=1, factor=-1.0, coordinate=None)
    sent = attack(KEY, rows)[0]
    expected = np.asarray(rows, np.float64).mean(axis=0) - 1
    assert sent.dtype == rows.dtype
    # The sum is rounded in float32 first, to 1e-7 of what is about 1.
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(sent, np.float64), expected, rtol=eps, atol=1e-6)
