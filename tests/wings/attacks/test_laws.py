"""Laws of every attack, and what each is known for, on rows that Hypothesis draws."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simbyz import aggregators, attacks
from simbyz.aggregators import SELECTIONS
from simbyz.attacks import ATTACKS
from tests.support.compiled import compiled, quick_jit

KEY = jax.random.key(0)
H, D, B = 7, 5, 3


class Configured(NamedTuple):
    """An attack with the options it needs, and which laws it keeps."""

    name: str
    options: dict = {}  # noqa: RUF012 (never mutated)
    translates: bool = False  # attack(x + c) = attack(x) + c
    scales: bool = True  # attack(s x) = s attack(x), s > 0
    permutes: bool = True  # the order of the honest rows does not matter
    draws: bool = False
    finite: bool = True

    def __call__(self, key, honest, num_byzantine):
        return ATTACKS[self.name](key, honest, num_byzantine, **self.options)


CONFIGURED = [
    Configured("a_little_is_enough", translates=True),
    Configured("fall_of_empires"),
    Configured("inner_product_manipulation", {"tau": 2.0}),
    Configured("hidden_vulnerability", {"factor": 3.0}, translates=True, scales=False),
    Configured("sparse", {"mask": np.arange(D) == 1}, translates=True),
    Configured("sparse_optimised", {"mask": np.arange(D) == 1, "scale": -0.5}, translates=True),
    Configured("sign_flipping"),
    Configured("scaled_sign_flipping"),
    Configured("full_gradient_negation"),
    Configured("bit_flipping", scales=False, finite=False),
    Configured("gaussian", scales=False, draws=True),
    Configured("random", scales=False, draws=True),
    Configured("zero"),
    Configured("nan", translates=True, finite=False),
    Configured("inf", translates=True, finite=False),
    Configured("mimic", {"worker": 1}, translates=True, permutes=False),
    Configured("min_max", {"direction": "deviation"}, translates=True),
    Configured("min_max", {"direction": "unit"}),
    Configured("min_sum", {"direction": "deviation"}, translates=True),
    Configured("min_sum", {"direction": "sign"}),
    Configured("fang_krum", {"f": 3}),
    Configured("fang_trimmed_mean", draws=True),
    Configured("anti_cge", {"f": 3}),
    Configured("byz_mean", translates=True),
    Configured("relocated_orthogonal_perturbation", scales=False),
]
every_attack = pytest.mark.parametrize(
    "attack", CONFIGURED, ids=lambda attack: f"{attack.name} {attack.options}"
)
# Eighths: exact in float32, and so are their sums. Equal rows and zeros come often.
ROWS = st.lists(st.lists(st.integers(-40, 40), min_size=D, max_size=D), min_size=H, max_size=H).map(
    lambda rows: np.asarray(rows, np.float32) / 8
)


def jitted(attack):
    """The attack by B attackers, compiled once for all tests."""
    return compiled(ATTACKS[attack.name], num_byzantine=B, **attack.options)


def test_every_attack_is_here():
    assert {attack.name for attack in CONFIGURED} == set(ATTACKS)


@pytest.mark.slower
@every_attack
def test_shape_and_dtype(attack):
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        for num_byzantine in (0, 1, 3):
            honest = jax.ShapeDtypeStruct((H, D), dtype)
            got = jax.eval_shape(lambda rows, b=num_byzantine: attack(KEY, rows, b), honest)
            assert (got.shape, got.dtype) == ((num_byzantine, D), dtype)


@every_attack
def test_a_negative_number_of_attackers_is_refused(attack):
    with pytest.raises(ValueError, match="num_byzantine must be at least 0, got -1"):
        jax.eval_shape(lambda rows: attack(KEY, rows, -1), np.ones((H, D), np.float32))


@pytest.mark.usefixtures("unchecked_shapes")
@every_attack
def test_a_list_of_vectors_is_refused(attack):
    """Seven workers' vectors, or seven layers of one number from each of five workers?"""
    honest = np.ones((H, D), np.float32)
    for vectors, kind in (([*honest], "list"), ((*honest,), "tuple"), (honest.tolist(), "list")):
        with pytest.raises(ValueError, match=f"updates came as a {kind} of {H}"):
            attack(KEY, vectors, B)
    with pytest.raises(ValueError, match="share a leading axis"):
        attack(KEY, [honest[0], honest[1, :2]], B)


@every_attack
def test_order_translation_scale_and_finiteness(attack):
    """Laws of the honest rows, each on the same draws."""

    @settings(max_examples=15, deadline=None)
    @given(honest=ROWS, order=st.permutations(range(H)), shift=st.integers(-20, 20))
    def laws(honest, order, shift):
        send = functools.partial(jitted(attack), KEY)
        sent = np.asarray(send(honest), np.float64)
        size = max(np.abs(honest).max(), np.abs(sent).max(), 1)
        close = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-5 * size)
        if attack.finite:
            assert np.isfinite(sent).all()
        if attack.scales:
            close(send(4 * honest), 4 * sent, atol=8e-5 * size)
        # Where the mean is zero but for rounding, so is the sign of it.
        settled = attack.translates or np.abs(honest.mean(axis=0)).min() > 1e-3
        if attack.name == "anti_cge":  # of equally short rows, it takes the earlier
            settled &= len(np.unique(np.sum(honest**2, axis=1))) == H
        if attack.permutes and attack.finite and settled:
            close(send(honest[np.asarray(order)]), sent)
        if attack.translates:
            close(send(honest + np.float32(shift)), sent + shift, atol=2e-5 * (size + 40))

    laws()


@pytest.mark.slower
@every_attack
def test_vmap_and_pytrees_change_nothing(attack):
    honest = np.random.default_rng(0).normal(0.5, 1, (2, H, D)).astype(np.float32)
    keys = jax.random.split(KEY)
    alone = [np.asarray(jitted(attack)(key, rows)) for key, rows in zip(keys, honest, strict=True)]

    @quick_jit
    def others(keys, honest):
        tree = {"a": honest[0][:, :2].reshape(H, 2, 1), "b": honest[0][:, 2:]}
        one = functools.partial(attack, num_byzantine=B)
        return jax.vmap(one)(keys, honest), one(keys[0], tree)

    together, got = others(keys, honest)
    size = max(np.abs(rows).max(where=np.isfinite(rows), initial=0) for rows in alone)
    # Bits turned over make large numbers of some, small ones of others.
    tolerance = (
        {"rtol": 1e-4} if attack.name == "bit_flipping" else {"rtol": 0, "atol": 1e-5 * size}
    )
    np.testing.assert_allclose(together, alone, **tolerance)
    assert got["a"].shape == (B, 2, 1)
    joined = np.concatenate([np.reshape(got["a"], (B, 2)), got["b"]], axis=1)
    np.testing.assert_array_equal(joined, alone[0])


@every_attack
def test_the_key_decides(attack):
    honest = np.random.default_rng(0).normal(0.5, 1, (H, D)).astype(np.float32)
    send = jitted(attack)
    np.testing.assert_array_equal(send(KEY, honest), send(KEY, honest))
    if not attack.draws:
        np.testing.assert_array_equal(send(KEY, honest), send(jax.random.key(1), honest))
        return
    assert not np.any(np.asarray(send(KEY, honest)) == send(jax.random.key(1), honest))
    rows = np.asarray(send(KEY, honest))
    assert not np.any(rows[0] == rows[1])


seeds = st.integers(0, 2**32 - 1)
centers = st.sampled_from([-10.0, 0.0, 0.3, 10.0])


def drawn(seed, center, h=H, d=D):
    return np.random.default_rng(seed).normal(center, 1, (h, d)).astype(np.float32)


@pytest.mark.slower
@pytest.mark.parametrize("direction", ["unit", "sign", "deviation"])
@pytest.mark.parametrize("known", [None, 4])
def test_min_max_and_min_sum_reach_their_bounds(direction, known):
    """In float32: within the bound, and tight, to 1e-5."""

    @quick_jit
    def send(honest):
        options = {"direction": direction, "known": known}
        return [
            attack(KEY, honest, 1, **options)[0] for attack in (attacks.min_max, attacks.min_sum)
        ]

    @settings(max_examples=20, deadline=None)
    @given(seed=seeds, center=centers)
    def reaches(seed, center):
        honest = drawn(seed, center, h=11, d=50)
        rows = honest[:known].astype(np.float64)
        squares = np.sum((rows[:, None] - rows[None]) ** 2, axis=2)
        farthest, summed = (np.asarray(row, np.float64) for row in send(honest))
        distances = np.sqrt(np.sum((rows - farthest) ** 2, axis=1))
        assert distances.max() == pytest.approx(np.sqrt(squares.max()), rel=1e-5)
        total = np.sum((rows - summed) ** 2)
        assert total == pytest.approx(squares.sum(axis=1).max(), rel=1e-5)
        # Against the direction of the mean, or of growth.
        against = {"unit": rows.mean(axis=0), "sign": np.sign(rows.mean(axis=0))}
        against = against.get(direction, rows.std(axis=0))
        assert (farthest - rows.mean(axis=0)) @ against < 0
        assert (summed - rows.mean(axis=0)) @ against < 0

    reaches()


@pytest.mark.slower
@settings(max_examples=20, deadline=None)
@given(seed=seeds, center=st.sampled_from([0.0, 0.3]))
def test_krum_takes_what_fang_sends(seed, center):
    """The largest of the sizes tried that is taken: it is, and the one twice as large is not.

    If none is, an honest row beats even zero, and the smallest is sent.
    """
    honest = drawn(seed, center)
    row = fang(honest)
    for factor, expected in ((1, np.abs(row).max() > 1e-4), (2, False)):
        rows = np.concatenate([honest, np.tile(factor * row, (B, 1))])
        assert np.array_equal(krum(rows), factor * row) == expected


@quick_jit
def fang(honest):
    return attacks.fang_krum(KEY, honest, B, f=B)[0]


@quick_jit
def krum(rows):
    return aggregators.krum(rows, B)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, center=centers)
def test_cge_keeps_every_attacker(seed, center):
    honest = drawn(seed, center)
    kept = compiled(SELECTIONS["cge"], f=B)(np.concatenate([honest, compare_norms(honest)]))
    assert np.all(np.asarray(kept)[H:] > 0)


@quick_jit
def compare_norms(honest):
    return attacks.anti_cge(KEY, honest, B, f=B)


@settings(max_examples=20, deadline=None)
@given(honest=ROWS)
def test_means_that_are_moved_where_they_should(honest):
    everyone = functools.partial(np.concatenate, axis=0)

    def send(attack, num_byzantine=B, **options):
        return compiled(attack, num_byzantine=num_byzantine, **options)(KEY, honest)

    flipped = send(attacks.scaled_sign_flipping)
    np.testing.assert_allclose(everyone([honest, flipped]).mean(axis=0), 0, atol=1e-5)
    sent = send(attacks.byz_mean)
    np.testing.assert_allclose(everyone([honest, sent]).mean(axis=0), sent[0], atol=1e-4)
    little = send(attacks.a_little_is_enough, 1)
    np.testing.assert_allclose(sent[0], little[0], atol=1e-5)
    for tau, sign in ((0.9 * H / B, 1), (1.1 * H / B, -1)):
        mean = everyone([honest, send(attacks.inner_product_manipulation, tau=tau)])
        product = mean.mean(axis=0) @ honest.mean(axis=0)
        assert sign * product >= -1e-4


def test_the_module_names_all_that_the_dicts_hold():
    assert {*ATTACKS, *attacks.DATA_ATTACKS} < {*attacks.__all__}


@pytest.mark.slower
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("a_little_is_enough", "factor"),
        ("fall_of_empires", "factor"),
        ("inner_product_manipulation", "tau"),
        ("hidden_vulnerability", "factor"),
        ("sign_flipping", "scale"),
        ("gaussian", "scale"),
        ("random", "scale"),
        ("fang_trimmed_mean", "base"),
        ("byz_mean", "factor"),
        ("relocated_orthogonal_perturbation", "angle"),
    ],
)
def test_factors_may_be_traced(name, option):
    honest, values = drawn(0, 0.5), (1.5, 2.5)

    @quick_jit
    def sent(traced):
        one = functools.partial(ATTACKS[name], KEY, honest, 1)
        return jax.vmap(lambda value: one(**{option: value}))(traced), [
            one(**{option: value}) for value in values
        ]

    swept, expected = sent(np.float32(values))
    np.testing.assert_allclose(swept, expected, rtol=1e-5, atol=1e-5)
