"""Arguments that are no counts, no lengths, no keys, and floors of products."""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks, preaggregators
from simbyz._arrays.checks import floor_of_product
from simbyz.aggregators.compose.layerwise import layerwise
from simbyz.data.partition import gamma_similarity
from simbyz.simulator.weighting import by_counts
from simbyz.theory import sharp
from tests.support.compiled import quick_jit

ROWS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
KEY = jax.random.key(0)


@pytest.mark.slower
def test_floors_of_products_are_those_of_the_decimals():
    for hundredths in range(301):
        share = hundredths / 100
        for number in (1, 7, 25, 50, 100, 1000, 60_000):
            exact = Fraction(hundredths, 100) * number
            assert floor_of_product(share, number) == exact.numerator // exact.denominator
    assert floor_of_product(1 / 3, 3) == 1
    assert floor_of_product(np.float32(0.29), 100) == 29
    assert floor_of_product(0.2899, 100) == 28
    got = floor_of_product(np.array([0.29, 0.57]), 100)
    assert got.tolist() == [29, 57]


@pytest.mark.slower
def test_dnc_drops_as_many_rows_as_it_is_told():
    rows = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    kept = quick_jit(functools.partial(aggregators.dnc_selection, f=25, key=KEY, c=1.16))(rows)
    assert np.count_nonzero(kept) == 60 - 29


def test_gamma_is_the_share_of_examples_at_random():
    """Of 100 sorted labels, the 71 that are no share at random go to one worker, in order."""
    labels = np.arange(100)
    rows = np.asarray(gamma_similarity(KEY, labels, 1, gamma=0.29).indices)[0]
    in_order = np.diff(rows[29:])
    assert np.all(in_order > 0)
    assert len(rows[29:]) == 71


pytestmark = pytest.mark.usefixtures("unchecked_shapes")


@pytest.mark.parametrize("f", [True, 2.0, None, "2", np.float32(2)])
def test_an_f_that_is_no_int_is_named(f):
    for rule in (aggregators.krum, aggregators.median, aggregators.cge):
        with pytest.raises(TypeError, match=f"^{rule.__name__}: f must be an int, got "):
            rule(ROWS, f)


def test_a_traced_f_is_told_how_to_be_fixed():
    with pytest.raises(TypeError, match=r'krum: f .*traced.*static_argnames="f"'):
        jax.jit(aggregators.krum)(ROWS, 2)
    got = jax.jit(aggregators.krum, static_argnames="f")(ROWS, f=2)
    assert got.shape == (3,)


@pytest.mark.slower
def test_one_array_of_numbers_is_no_stack():
    for rule in (aggregators.median, aggregators.average, preaggregators.nearest_neighbor_mixing):
        with pytest.raises(ValueError, match=r"got one array of shape \(7,\).*updates\[:, None\]"):
            rule(ROWS[:, 0], 1)
    with pytest.raises(ValueError, match="got one array"):
        attacks.fall_of_empires(KEY, ROWS[:, 0], 2)
    # As the bias of a layer it is one.
    tree = {"bias": ROWS[:, 0], "weight": ROWS[:, 1:]}
    assert aggregators.median(tree, 1)["bias"].shape == ()
    assert layerwise(aggregators.median)(tree, 1)["bias"].shape == ()
    assert layerwise(aggregators.median_selection)(tree, 1)["bias"].shape == (7,)


@pytest.mark.parametrize("length", [-1.0, float("nan"), -np.float32(1), jnp.float32(jnp.nan)])
def test_lengths_are_not_negative(length):
    with pytest.raises(ValueError, match="clipping needs radius >= 0, got radius="):
        preaggregators.clipping(ROWS, radius=length)
    with pytest.raises(ValueError, match="centered_clipping needs radius >= 0"):
        aggregators.centered_clipping(ROWS, 1, radius=length)
    with pytest.raises(ValueError, match="geometric_median needs smoothing >= 0"):
        aggregators.geometric_median(ROWS, 1, smoothing=length)
    with pytest.raises(ValueError, match="signguard needs lower >= 0"):
        aggregators.signguard(ROWS, 1, lower=length)
    with pytest.raises(ValueError, match="dnc needs c >= 0"):
        aggregators.dnc(ROWS, 1, key=KEY, c=length)


@pytest.mark.parametrize("value", [True, "1", None, [1.0], np.ones(7), np.ones(3), jnp.ones(1)])
def test_one_number_is_not_several(value):
    """(7,) would be taken for a number a row, (3,) for one a coordinate."""
    error = ValueError if isinstance(value, np.ndarray | jax.Array) else TypeError
    for name, option in (
        ("centered_clipping", "radius"),
        ("geometric_median", "smoothing"),
        ("filter_l2", "deviation"),
        ("lasa", "norm_bound"),
        ("lasa", "sparsity"),
        ("fedseca", "sparsity"),
        ("signguard", "lower"),
        ("dnc", "c"),
    ):
        rule = getattr(aggregators, name)
        options = {"key": KEY} if name == "dnc" else {}
        with pytest.raises(error, match=f"{name} needs (a|one) number as {option}, got"):
            rule(ROWS, 2, **options, **{option: value})
    with pytest.raises(error, match="clipping needs (a|one) number as radius, got"):
        preaggregators.clipping(ROWS, radius=value)
    for name, option in (
        ("a_little_is_enough", "factor"),
        ("sparse", "scale"),
        ("sparse_optimised", "scale"),
        ("fall_of_empires", "factor"),
        ("inner_product_manipulation", "tau"),
        ("hidden_vulnerability", "factor"),
        ("sign_flipping", "scale"),
        ("gaussian", "mean"),
        ("random", "scale"),
        ("byz_mean", "factor"),
        ("relocated_orthogonal_perturbation", "angle"),
        ("fang_trimmed_mean", "base"),
    ):
        with pytest.raises(error, match=f"{name} needs (a|one) number as {option}, got"):
            getattr(attacks, name)(KEY, ROWS, 2, **{option: value})


@pytest.mark.slower
def test_numbers_that_are_known_are_known_within_a_trace():
    """An array from outside of a program or of a loop is no traced value in it, but what compares
    it is.
    """
    half, one, two = jnp.float32(0.5), jnp.float32(1), jnp.float32(2)
    for call in (
        lambda: aggregators.autogm(ROWS, 2),
        lambda: aggregators.geometric_median(ROWS, 2, smoothing=one),
        lambda: aggregators.lasa(ROWS, 2, sparsity=half),
        lambda: preaggregators.clipping(ROWS, radius=one),
        lambda: attacks.byz_mean(KEY, ROWS, 2, factor=one),
        lambda: attacks.fang_trimmed_mean(KEY, ROWS, 2, base=two),
    ):

        def both(call=call):
            alone = call()
            return jax.lax.fori_loop(0, 1, lambda _, made: call(), 0 * alone), alone

        np.testing.assert_allclose(*quick_jit(both)(), rtol=1e-6)


def test_a_factor_is_not_nan_and_a_traced_share_is_told_to_be_fixed():
    with pytest.raises(ValueError, match="byz_mean needs a number as factor, got nan"):
        attacks.byz_mean(KEY, ROWS, 2, factor=float("nan"))
    with pytest.raises(TypeError, match="lasa needs a sparsity that is not traced"):
        jax.jit(lambda share: aggregators.lasa(ROWS, 2, sparsity=share))(0.5)


def test_a_key_is_no_number():
    for call in (
        lambda key: preaggregators.bucketing(ROWS, 1, key=key, bucket_size=2),
        lambda key: aggregators.dnc(ROWS, 1, key=key),
        lambda key: aggregators.signguard(ROWS, 1, key=key, sample=2),
        lambda key: attacks.gaussian(key, ROWS, 2),
        lambda key: attacks.random(key, ROWS, 2),
        lambda key: attacks.fang_trimmed_mean(key, ROWS, 2),
        lambda key: attacks.start_mimic(key, 3),
        lambda key: aggregators.flame(ROWS, 2, key=key),
        lambda key: attacks.mimicking(warmup=1, key=key),
        lambda key: aggregators.mixture([aggregators.median])(ROWS, 2, key=key),
        lambda key: aggregators.chain(
            *[functools.partial(preaggregators.bucketing, bucket_size=1)] * 2, aggregators.median
        )(ROWS, 2, key=key),
    ):
        for key in (0, np.zeros(2), "key"):
            with pytest.raises(TypeError, match=r"needs a key as jax.random.key\(0\) gives, got "):
                call(key)
    assert attacks.gaussian(jax.random.PRNGKey(0), ROWS, 2).shape == (2, 3)


@pytest.mark.parametrize("name", attacks.DATA_ATTACKS)
def test_labels_are_those_of_the_classes(name):
    options = {"source": 0, "target": 1} if name == "targeted_label_flipping" else {}
    attack = attacks.DATA_ATTACKS[name]
    for labels, classes, error, message in (
        ([0.0, 1.0], 3, TypeError, "labels that are integers, got float32"),
        ([0, 1], 0, ValueError, "num_classes >= 1, got 0"),
        ([0, 1], 3.0, TypeError, "num_classes must be an int, got 3.0"),
        ([0, 3], 3, ValueError, "labels from 0 to num_classes - 1 = 2, got 3"),
        ([0, -1], 3, ValueError, "labels from 0 to num_classes - 1 = 2, got -1"),
    ):
        with pytest.raises(error, match=message):
            attack(jnp.asarray(labels), classes, **options)
    for labels in (None, "labels", [0, 1]):
        with pytest.raises(TypeError, match=f"^{name} needs labels that are integers, got "):
            attack(labels, 3, **options)
    got = jax.jit(lambda labels: attack(labels, 3, **options))(jnp.asarray([0, 1, 2]))
    assert set(np.asarray(got).tolist()) <= {0, 1, 2}


def test_other_counts_are_refused():
    with pytest.raises(ValueError, match="evaluations >= 1, got 0"):
        attacks.adaptive("little", aggregators.median, evaluations=0)
    with pytest.raises(ValueError, match="base > 1, got base=1"):
        attacks.fang_trimmed_mean(KEY, ROWS, 2, base=1.0)
    with pytest.raises(ValueError, match="1 <= bucket_size <= 7, got bucket_size=8"):
        preaggregators.bucketing(ROWS, 1, key=KEY, bucket_size=8)
    for call in (
        lambda value: aggregators.krum(ROWS, 1, neighbours=value),
        lambda value: aggregators.multi_krum(ROWS, 1, m=value),
        lambda value: aggregators.monna(ROWS, 1, index=value),
        lambda value: preaggregators.bucketing(ROWS, 1, key=KEY, bucket_size=value),
        lambda value: attacks.mimic(KEY, ROWS, 2, worker=value),
        lambda value: attacks.nan(KEY, ROWS, value),
    ):
        for value in (True, 1.0, "1"):
            with pytest.raises(TypeError, match="must be an int, got"):
                jax.eval_shape(functools.partial(call, value))
    for bits in (None, 31, 1.5):
        with pytest.raises(TypeError, match=r"bits must be several ints, such as \(32,\), got"):
            attacks.bit_flipping(KEY, ROWS, 1, bits=bits)
    with pytest.raises(ValueError, match="dimension must be at least 1, got 0"):
        attacks.start_mimic(KEY, 0)


@pytest.mark.parametrize("value", [None, "no", 1, 0.0, np.zeros(3)])
def test_a_choice_of_two_is_true_or_false(value):
    for name, call in (
        ("squared", lambda value: aggregators.krum(ROWS, 1, squared=value)),
        ("squared", lambda value: aggregators.multi_krum(ROWS, 1, squared=value)),
        ("squared", lambda value: attacks.fang_krum(KEY, ROWS, 2, f=1, squared=value)),
        ("midpoint", lambda value: aggregators.median(ROWS, 1, midpoint=value)),
        ("midpoint", lambda value: aggregators.meamed(ROWS, 1, midpoint=value)),
        ("midpoint", lambda value: sharp.median_coefficient(6, 1, midpoint=value)),
        ("midpoint", lambda value: sharp.median_resilience(6, 1, midpoint=value)),
    ):
        with pytest.raises(TypeError, match=f"^{name} must be True or False, got "):
            call(value)


def test_numbers_that_counts_are_made_of_are_told_to_be_fixed():
    for name, option, call in (
        ("dnc", "c", lambda value: aggregators.dnc(ROWS, 1, key=KEY, c=value)),
        ("neurotoxin", "share", lambda value: attacks.neurotoxin(value) and value),
    ):
        with pytest.raises(TypeError, match=f"^{name} needs a {option} that is not traced: fix it"):
            jax.eval_shape(call, 0.5)


def test_what_is_no_array_is_told_so():
    for rows in ("rows", object(), {"a": ROWS, "b": "text"}):
        with pytest.raises(TypeError, match="^updates must hold arrays of numbers, got (str|obj)"):
            aggregators.median(rows, 1)
        with pytest.raises(TypeError, match="^updates must hold arrays of numbers, got (str|obj)"):
            attacks.sign_flipping(KEY, rows, 1)
    with pytest.raises(TypeError, match="^the row given must hold arrays of numbers, got str"):
        aggregators.fltrust(ROWS, 1, trusted="row")


def test_python_names_a_rule_of_which_an_option_is_missing():
    """The checks of shapes in these tests, which wrap it, have a name of their own."""
    for rule in (preaggregators.clipping, aggregators.dnc, aggregators.dnc_selection):
        assert rule.core.__qualname__ == rule.__name__.removesuffix("_selection")


def test_long_arrays_are_told_in_one_line():
    masses, counts = np.zeros(200), np.full((40, 40), -1.0)
    for call in (
        lambda: aggregators.weighted_average(np.ones((200, 1), np.float32), masses=masses),
        lambda: by_counts(counts),
        lambda: by_counts(np.ones(40), claimed=counts),
        lambda: by_counts(np.ones(40), claimed=np.full(40, np.inf)),
    ):
        with pytest.raises(ValueError, match=r"^.* got \[.*\.\.\..*\]$"):
            call()
