"""Attacks against their definitions, in float64, and what they refuse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simbyz import attacks
from tests.reference import attacks as reference_attacks
from tests.support.compiled import compiled

KEY = jax.random.key(0)
H, D, B = 7, 5, 3
OWN = np.random.default_rng(1).normal(size=(B, D))
MOMENTUM = np.random.default_rng(2).normal(size=D)

# Attack, and options that its definition has to follow.
DEFINED = [
    ("a_little_is_enough", {}),
    ("a_little_is_enough", {"factor": 2.0, "known": 4}),
    ("fall_of_empires", {}),
    ("fall_of_empires", {"factor": 3.0}),
    ("inner_product_manipulation", {"tau": 0.7}),
    ("hidden_vulnerability", {"factor": 3.0}),
    ("hidden_vulnerability", {"factor": -3.0, "coordinate": 1}),
    ("hidden_vulnerability", {"factor": 3.0, "coordinate": None}),
    ("sign_flipping", {"scale": 4.0}),
    ("sign_flipping", {"scale": 4.0, "own": OWN}),
    ("sparse", {"mask": np.arange(D) % 2 == 1, "scale": 4.0, "factor": 0.3}),
    ("sparse_optimised", {"mask": np.arange(D) == 1, "scale": -0.5}),
    ("sparse_optimised", {"bound": "largest", "mask": np.arange(D) == 1, "scale": 9.0}),
    ("scaled_sign_flipping", {}),
    ("full_gradient_negation", {}),
    ("full_gradient_negation", {"scale": 100.0}),
    ("mimic", {"worker": 4}),
    ("min_max", {"direction": "unit"}),
    ("min_max", {"direction": "sign"}),
    ("min_max", {}),
    ("min_max", {"known": 4}),
    ("min_sum", {"direction": "unit"}),
    ("min_sum", {"direction": "sign"}),
    ("min_sum", {}),
    ("min_sum", {"bound": "smallest"}),
    ("min_sum", {"known": 4}),
    ("fang_krum", {"f": 3}),
    ("fang_krum", {"f": 2, "neighbours": 7, "squared": False}),
    ("fang_krum", {"f": 1, "known": 5}),
    ("anti_cge", {"f": 3}),
    ("anti_cge", {"f": 4}),
    ("byz_mean", {}),
    ("byz_mean", {"factor": 0.3}),
    ("relocated_orthogonal_perturbation", {}),
    ("relocated_orthogonal_perturbation", {"momentum": MOMENTUM}),
    (
        "relocated_orthogonal_perturbation",
        {"momentum": MOMENTUM, "location": 0.4, "mixing": 0.2, "angle": 200.0, "size": 3.0},
    ),
]


def rows_of(seed, center=0.5):
    return np.random.default_rng(seed).normal(center, 1, (H, D))


NAMES = [name for name, _ in DEFINED]


@pytest.mark.slower
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            number,
            # An attack's further options are among the longer checks.
            marks=[pytest.mark.slower] if name in NAMES[:number] else [],
            id=f"{name} {sorted(options)}",
        )
        for number, (name, options) in enumerate(DEFINED)
    ],
)
def test_definitions(number):
    name, options = DEFINED[number]
    program = compiled(getattr(attacks, name), num_byzantine=B, **options)

    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), center=st.sampled_from([-2.0, 0.0, 0.5, 30.0]))
    def agrees(seed, center):
        honest = rows_of(seed, center)
        with jax.enable_x64(True):
            got = np.asarray(program(KEY, honest))
        expected = getattr(reference_attacks, name)(honest, B, **options)
        scale = max(np.abs(honest).max(), np.abs(expected).max())
        np.testing.assert_allclose(
            got, np.broadcast_to(expected, (B, D)), rtol=0, atol=1e-10 * scale
        )

    agrees()


@pytest.mark.parametrize(
    "options", [{}, {"bits": (32,)}, {"own": OWN.astype(np.float32), "bits": (1, 23, 31)}]
)
def test_bit_flipping(options):
    honest = rows_of(0).astype(np.float32)
    # The bits of the mean that the library turns over, not those of one rounded otherwise.
    mean = attacks.inner_product_manipulation(KEY, honest, 1, tau=-1.0)
    expected = reference_attacks.bit_flipping(np.asarray(mean), B, **options)
    got = attacks.bit_flipping(KEY, honest, B, **options)
    np.testing.assert_array_equal(got, np.broadcast_to(expected, (B, D)))


def test_the_sign_bit_alone_is_sign_flipping():
    own = OWN.astype(np.float32)
    np.testing.assert_array_equal(
        attacks.bit_flipping(KEY, HONEST, B, bits=(32,), own=own),
        attacks.sign_flipping(KEY, HONEST, B, own=own),
    )


@pytest.mark.slower
@pytest.mark.parametrize("center", [0.2, -0.2, 3.0, -3.0])
@pytest.mark.parametrize("options", [{}, {"base": 5.0}, {"known": 4}])
def test_fang_trimmed_mean_fills_its_interval(center, options):
    honest = rows_of(0, center)
    near, far = reference_attacks.fang_trimmed_mean_interval(honest, **options)
    got = attacks.fang_trimmed_mean(KEY, honest.astype(np.float32), 1000, **options)
    share = (np.asarray(got, np.float64) - near) / (far - near)
    assert share.min() > -1e-5 and share.max() < 1 + 1e-5
    # Uniform draws: mean and deviation to six standard errors.
    np.testing.assert_allclose(share.mean(axis=0), 0.5, atol=6 * 12**-0.5 / 1000**0.5)
    np.testing.assert_allclose(share.std(axis=0), 12**-0.5, atol=0.03)


def test_gaussian_and_random_are_distributed_as_they_say():
    honest = rows_of(0).astype(np.float32)
    draws = np.asarray(attacks.gaussian(KEY, honest, 4000, mean=3.0, scale=2.0))
    np.testing.assert_allclose(draws.mean(axis=0), 3, atol=6 * 2 / 4000**0.5)
    np.testing.assert_allclose(draws.std(axis=0), 2, rtol=0.1)
    np.testing.assert_allclose(np.mean(np.abs(draws - 3) < 2), 0.6827, atol=0.02)
    draws = np.asarray(attacks.random(KEY, honest, 4000, scale=2.0))
    assert np.abs(draws).max() <= 2
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=6 * 2 * 3**-0.5 / 4000**0.5)
    np.testing.assert_allclose(np.mean(draws > 1), 0.25, atol=0.02)


@pytest.mark.parametrize("name, value", [("zero", 0.0), ("nan", np.nan), ("inf", np.inf)])
def test_constants(name, value):
    np.testing.assert_array_equal(
        getattr(attacks, name)(KEY, rows_of(0), 2), np.full((2, D), value)
    )


@pytest.mark.parametrize("reading", ["honest", "all"])
def test_z_max(reading):
    for n, f in [(50, 24), (51, 24), (51, 12), (25, 11), (25, 5), (20, 4), (10, 2), (3, 1)]:
        expected = reference_attacks.z_max(n, f, reading)
        assert attacks.z_max(n, f, reading=reading) == pytest.approx(expected, abs=1e-12)


def test_z_max_hides_among_a_majority():
    """With normal values, the shifted ones and the honest beyond them are more than half."""
    n, f = 51, 24
    values = np.sort(np.random.default_rng(0).normal(size=(4000, n - f)), axis=1)
    shift = attacks.z_max(n, f)
    beyond = np.mean(np.sum(values > shift, axis=1))
    assert f + beyond == pytest.approx(n // 2 + 1, abs=0.1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "name", ["a_little_is_enough", pytest.param("byz_mean", marks=pytest.mark.slower)]
)
def test_deviations_of_few_bits_are_rounded_once(name, dtype):
    """A square of 300 overflows in float16, and has two digits in bfloat16."""
    honest = (300 * jnp.asarray(rows_of(0))).astype(dtype)
    got = np.asarray(getattr(attacks, name)(KEY, honest, B), np.float64)
    exact = getattr(reference_attacks, name)(np.asarray(honest, np.float64), B)
    np.testing.assert_allclose(
        got, np.broadcast_to(exact, (B, D)), rtol=float(jnp.finfo(dtype).eps), atol=1e-2
    )


@pytest.mark.parametrize("name", ["zero", "nan", "inf", "gaussian", "random"])
def test_what_looks_at_nothing_needs_no_honest_worker(name):
    honest = {"a": np.zeros((0, 2), np.float32), "b": np.zeros((0, 3, 1), np.float16)}
    sent = getattr(attacks, name)(KEY, honest, 2)
    some = getattr(attacks, name)(
        KEY, jax.tree.map(lambda leaf: jnp.ones((1, *leaf.shape[1:]), leaf.dtype), honest), 2
    )
    jax.tree.map(np.testing.assert_array_equal, sent, some)


def test_learned_mimic_copies_who_lies_out():
    """Against the definition, step by step; the direction is where the rows vary most."""
    steps = np.random.default_rng(0).normal(size=(6, H, D))
    steps[:, :, 2] *= 5
    state = attacks.start_mimic(KEY, D)
    chosen = reference_attacks.learned_mimic(steps, np.asarray(state.direction, float), warmup=4)
    step = jax.jit(functools.partial(attacks.learned_mimic, warmup=4), static_argnums=2)
    for honest, worker in zip(steps, chosen, strict=True):
        rows, state = step(KEY, honest.astype(np.float32), 2, state)
        np.testing.assert_array_equal(rows, [honest[worker].astype(np.float32)] * 2)
    assert chosen[3] == chosen[4] == chosen[5]
    assert len(set(chosen)) > 1
    assert abs(state.direction[2]) > 0.9
    assert int(state.step) == 6


def test_learned_mimic_of_equal_rows_stays_finite():
    state = attacks.start_mimic(KEY, D)
    rows, state = attacks.learned_mimic(KEY, np.ones((H, D), np.float32), 2, state, warmup=2)
    np.testing.assert_array_equal(rows, np.ones((2, D)))
    assert all(np.isfinite(leaf).all() for leaf in state)


def test_more_attackers_than_cge_tolerates_need_no_disguise():
    assert np.isnan(attacks.anti_cge(KEY, rows_of(0), 3, f=2)).all()
    assert attacks.anti_cge(KEY, rows_of(0), 0, f=0).shape == (0, D)


HONEST = rows_of(0).astype(np.float32)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("name", "honest", "options", "message"),
    [
        ("a_little_is_enough", HONEST[:1], {}, "at least 2 honest rows"),
        ("sparse", HONEST, {"mask": np.ones(D + 1, bool)}, "5 coordinates, the row given 6"),
        ("sparse", HONEST[:1], {}, "at least 2 honest rows"),
        ("sparse_optimised", HONEST[:1], {}, "at least 2 honest rows"),
        ("sparse_optimised", HONEST, {"bound": "mean"}, '"largest" or "smallest", got'),
        ("model_replacement", HONEST, {"own": OWN[:2]}, "num_byzantine=3 vectors of d=5"),
        ("a_little_is_enough", HONEST, {"known": 1}, "at least 2 honest rows"),
        ("a_little_is_enough", HONEST, {"known": 8}, "known must be from 1 to 7"),
        ("byz_mean", HONEST[:1], {}, "at least 2 honest rows"),
        ("hidden_vulnerability", HONEST, {"factor": 1.0, "coordinate": 5}, "from -5 to 4"),
        ("sign_flipping", HONEST, {"own": OWN[:2]}, "num_byzantine=3 vectors of d=5"),
        ("bit_flipping", HONEST, {"bits": (0,)}, "bits must be from 1 to 32"),
        ("mimic", HONEST, {"worker": 7}, "worker must be from 0 to h - 1 = 6, got 7"),
        ("min_max", HONEST, {"direction": "up"}, '"unit", "sign" or "deviation", got'),
        ("min_max", HONEST[:1], {}, "at least 2 honest rows"),
        ("min_sum", HONEST, {"bound": "mean"}, '"largest" or "smallest", got'),
        ("fang_krum", HONEST, {"f": 5}, r"n >= f \+ 3 and n >= 2f \+ 2, got n=10, f=5"),
        ("fang_krum", HONEST, {"f": 3, "neighbours": 10}, "from 1 to n - 1 = 9, got 10"),
        ("fang_trimmed_mean", HONEST, {"known": 1}, "known >= 2 for a deviation"),
        ("anti_cge", HONEST, {"f": 7}, "0 <= f < h, got h=7 honest rows, f=7"),
        (
            "relocated_orthogonal_perturbation",
            HONEST,
            {"momentum": np.ones(4)},
            "5 coordinates, the row given 4",
        ),
        ("relocated_orthogonal_perturbation", HONEST[:2], {}, "z_max needs n >= 3 and"),
    ],
)
def test_refused(name, honest, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(attacks, name)(KEY, honest, B, **options)


@pytest.mark.parametrize("n, f", [(2, 0), (5, 3), (5, -1)])
def test_z_max_refuses(n, f):
    with pytest.raises(ValueError, match=f"0 <= f <= n / 2, got n={n}, f={f}"):
        attacks.z_max(n, f)


@pytest.mark.usefixtures("unchecked_shapes")
def test_z_max_refuses_an_unknown_reading():
    with pytest.raises(ValueError, match='"honest" or "all", got \'none\''):
        attacks.z_max(5, 1, reading="none")


def test_counts_are_static():
    with pytest.raises(TypeError):
        jax.jit(lambda known: attacks.min_max(KEY, HONEST, 2, known=known))(3)
    with pytest.raises(TypeError):
        jax.jit(lambda count: attacks.zero(KEY, HONEST, count))(3)
