"""Searched attacks against the recorded ones of the paper's program, and their laws.

That program has two ways of searching `negative`: it probes the negated side, and then sends the
positive one at the factor it found. Its probes and its factor are compared; what it sent is
compared with the positive side.
"""

import functools
import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simbyz import aggregators, attacks
from simbyz.attacks.searched.adaptive import opposition, search_factor, worth_of
from simbyz.attacks.searched.line_search import bracketing, sequential
from tests.reference import attacks as reference_attacks
from tests.reference import rules as reference
from tests.reference import searches as reference_searches
from tests.support.compiled import quick_jit
from tests.support.paths import GOLDEN

KEY = jax.random.key(0)
HONEST = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)


def released(rule, **options):
    return lambda rows, f: rule(rows, f, **options)


def nearest(rows, distances_from, count):
    squares = [reference.squared_distance(row, distances_from) for row in rows]
    return reference.average(np.array([rows[i] for i in reference.lowest(squares, count)]))


def krum_options(rows, f):
    return {"neighbours": len(rows) - f - 1, "squared": False}


# Rules as the program calls them from a search: ours, and the plain loops.
RULES = {
    "average": (aggregators.average, reference.average),
    "median": (aggregators.median, reference.median),
    "trmean": (aggregators.trimmed_mean, reference.trimmed_mean),
    "phocas": (aggregators.phocas, reference.phocas),
    "meamed": (aggregators.meamed, reference.meamed),
    "krum": (
        lambda rows, f: aggregators.multi_krum(rows, f, **krum_options(rows, f)),
        lambda rows, f: reference.multi_krum(rows, f, **krum_options(rows, f)),
    ),
    "bulyan": (
        released(aggregators.bulyan, variant="released"),
        released(reference.bulyan, variant="released"),
    ),
    "aksel": (
        aggregators.aksel,
        lambda rows, f: nearest(rows, reference.median(rows), (len(rows) + 1) // 2),
    ),
    "cge": (
        aggregators.cge,
        lambda rows, f: nearest(rows, np.zeros(rows.shape[1]), len(rows) - f),
    ),
}


@functools.cache
def recorded():
    entries = json.loads((GOLDEN / "vectors.json").read_text())["entries"]
    with np.load(GOLDEN / "vectors.npz") as arrays:
        arrays = dict(arrays)
    searches = [e for e in entries if e["kind"] == "attack-search" and e["library"] == "bm"]
    return searches, arrays


def honest_of(entry):
    return recorded()[1][entry["input"]][: entry["params"]["honests"]]


def ray_of(entry, honest):
    """(start, direction): the program probes start + x · direction."""
    mean = reference.average(honest)
    if entry["name"] == "little":
        direction = reference_attacks.deviation(honest)
    elif entry["name"] == "empire":
        direction = -mean
    elif entry["name"] == "empire-strict":
        return np.zeros_like(mean), -mean
    else:  # its "bulyan": the last coordinate
        direction = np.zeros_like(mean)
        direction[-1] = 1.0
    return mean, direction


def assert_search(entry, factor, probes):
    """Factor, probes and row are the recorded ones."""
    start, direction = ray_of(entry, honest_of(entry))
    if "trace_x" in entry:
        np.testing.assert_allclose(probes, entry["trace_x"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(factor, entry["factor_found"], rtol=1e-9, atol=1e-12)
    offset, shape = entry["output"]
    row = recorded()[1]["outputs"][offset : offset + int(np.prod(shape))]
    scale = max(1.0, np.abs(row).max())
    np.testing.assert_allclose(start + factor * direction, row, rtol=0, atol=1e-9 * scale)


def signed_ray(entry):
    start, direction = ray_of(entry, honest_of(entry))
    return start, -direction if entry["params"].get("negative") else direction


def entries_of_size(least, most):
    return [e for e in recorded()[0] if least <= e["params"]["honests"] + e["params"]["f"] <= most]


def assert_reference_searches(entries):
    for entry in entries:
        honest, f = honest_of(entry), entry["params"]["f"]
        start, direction = signed_ray(entry)
        rule = RULES[entry["params"]["defense"]][1]

        def function(x, honest=honest, f=f, start=start, direction=direction, rule=rule):
            return reference_searches.damage(rule, honest, start + x * direction, f, f)

        assert_search(entry, *reference_searches.sequential(function, entry.get("evals", 16)))


def assert_our_searches(entries):
    """One program for each rule and size: rows are padded to 20 zeros, the ray is an argument."""
    programs = {}
    with jax.enable_x64(True):
        for entry in entries:
            honest, f = honest_of(entry), entry["params"]["f"]
            start, direction = signed_ray(entry)
            pad = 20 - honest.shape[1]
            key = (entry["params"]["defense"], len(honest), f)
            if key not in programs:
                programs[key] = quick_jit(functools.partial(our_search, RULES[key[0]][0], f))
            found = programs[key](
                np.pad(honest, ((0, 0), (0, pad))),
                np.pad(start, (0, pad)),
                np.pad(direction, (0, pad)),
            )
            # The first probes of a longer search are those of a shorter one.
            count = entry.get("evals", 16)
            best = np.asarray(found.values)[:count].argmax()
            probes = np.asarray(found.probes)[:count]
            assert_search(entry, probes[best], probes)


def our_search(rule, f, honest, start, direction):
    def along(key, honest, num_byzantine, *, factor):
        row = start + factor * direction
        return jnp.broadcast_to(row, (num_byzantine, *row.shape))

    return search_factor(KEY, honest, f, direction=along, rule=rule)


def test_what_is_compared():
    names = Counter(entry["name"] for entry in recorded()[0])
    assert names == {"bulyan": 297, "empire": 297, "little": 297, "empire-strict": 51}


def test_reference_makes_every_recorded_search_of_few_rows():
    entries = entries_of_size(0, 11)
    assert len(entries) == 532
    assert_reference_searches(entries)


@pytest.mark.slower
def test_every_recorded_search():
    assert_reference_searches(entries_of_size(12, 25))
    assert_our_searches(recorded()[0])


@pytest.mark.slower
def test_both_named_directions_send_what_they_searched():
    for direction, fixed, sign in (
        ("little", attacks.a_little_is_enough, 1),
        ("little-negative", attacks.a_little_is_enough, -1),
        ("empire", attacks.fall_of_empires, 1),
    ):
        attack = attacks.adaptive(direction, aggregators.median)

        @quick_jit
        def sent_and_searched(honest, attack=attack, direction=direction, fixed=fixed, sign=sign):
            found = search_factor(KEY, honest, 2, direction=direction, rule=aggregators.median)
            return attack(KEY, honest, 2), fixed(KEY, honest, 2, factor=sign * found.factor)

        rows, expected = sent_and_searched(HONEST)
        np.testing.assert_allclose(rows, expected, rtol=1e-6, atol=1e-6)


@functools.partial(quick_jit, static_argnames="search")
def damages(honest, search):
    """Of the searched attack, and of fixed ones on the bracketing's grid."""
    worth = worth_of(aggregators.trimmed_mean, honest, 2)
    attack = attacks.adaptive("little", aggregators.trimmed_mean, search=search)
    fixed = [attacks.a_little_is_enough(KEY, honest, 2, factor=x) for x in (1.0, 2.0, 4.0, 8.0)]
    return jnp.sum(worth(attack(KEY, honest, 2))), jnp.stack([jnp.sum(worth(r)) for r in fixed])


@pytest.mark.slower
@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(
        st.floats(-100, 100, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3),
        min_size=18,
        max_size=18,
    )
)
def test_never_weaker_than_a_factor_of_its_grid(values):
    searched, fixed = damages(np.array(values, np.float32).reshape(6, 3), bracketing)
    assert float(searched) >= np.max(fixed) * (1 - 1e-5)


def test_what_the_rule_tolerates_and_who_is_present_are_separate():
    seen = []

    def rule(updates, f):
        seen.append((len(updates), f))
        return aggregators.median(updates, f)

    traced(attacks.adaptive("little", rule, f=1), 3)
    assert set(seen) == {(9, 1)}
    seen.clear()
    traced(attacks.adaptive("little", rule), 3)
    assert set(seen) == {(9, 3)}
    assert traced(attacks.adaptive("little", rule, f=1), 0).shape == (0, 4)


def traced(attack, num_byzantine):
    return jax.eval_shape(lambda honest: attack(KEY, honest, num_byzantine), HONEST)


@pytest.mark.slower
@pytest.mark.parametrize("search", [sequential, bracketing])
def test_matrix_equals_pytree_and_vmap(search):
    attack = attacks.adaptive("little-negative", aggregators.median, evaluations=8, search=search)
    sent = quick_jit(lambda honest: attack(KEY, honest, 2))
    rows = sent(HONEST)
    tree = sent({"a": HONEST[:, :1].reshape(6, 1, 1), "b": HONEST[:, 1:]})
    assert tree["a"].shape == (2, 1, 1)
    np.testing.assert_allclose(
        np.concatenate([np.reshape(tree["a"], (2, 1)), tree["b"]], axis=1), rows, rtol=1e-6
    )
    stacked = quick_jit(jax.vmap(lambda h: attack(KEY, h, 2)))(np.stack([HONEST, -HONEST]))
    np.testing.assert_allclose(stacked[0], rows, rtol=1e-5, atol=1e-6)


@pytest.mark.slower
def test_a_rule_that_turns_with_its_rows_is_searched_in_their_span():
    honest = np.random.default_rng(2).normal(size=(8, 30))

    @functools.partial(quick_jit, static_argnums=1)
    def search(honest, symmetry):
        return search_factor(
            KEY,
            honest,
            3,
            direction="little",
            rule=aggregators.krum,
            symmetry=symmetry,
            search=bracketing,
        )

    with jax.enable_x64(True):
        everywhere, in_span = search(honest, None), search(honest, "rotations")
    np.testing.assert_allclose(in_span.probes, everywhere.probes, rtol=1e-9)
    np.testing.assert_allclose(in_span.values, everywhere.values, rtol=1e-9)


@pytest.mark.slower
def test_a_named_direction_is_searched_like_the_attack_itself():
    rule, honest = aggregators.median, HONEST.astype(float)
    with jax.enable_x64(True):
        named, given = (
            quick_jit(
                functools.partial(search_factor, direction=direction, rule=rule), static_argnums=2
            )(KEY, honest, 2)
            for direction in ("empire", attacks.fall_of_empires)
        )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), named, given)


def test_opposition_turns_the_average_against_the_mean():
    attack = attacks.adaptive("empire", aggregators.average, objective=opposition)
    rows = quick_jit(attack, static_argnums=2)(KEY, HONEST, 2)
    mean = HONEST.mean(axis=0)
    assert np.concatenate([HONEST, rows]).mean(axis=0) @ mean < 0


def test_an_unknown_direction_or_symmetry(unchecked_shapes):
    with pytest.raises(ValueError, match="direction must be one of little, little-negative, empir"):
        attacks.adaptive("big", aggregators.median)
    with pytest.raises(ValueError, match='symmetry must be "rotations" or None, got .mirrors.'):
        attacks.adaptive("little", aggregators.krum, symmetry="mirrors")
    for direction, got in (
        (["little"], r"\['little'\]"),
        (attacks.sign_flipping, "sign_flipping"),  # an attack without that keyword
    ):
        with pytest.raises(ValueError, match=f"an attack with a keyword factor; got {got}"):
            attacks.adaptive(direction, aggregators.median)
    assert callable(attacks.adaptive(attacks.byz_mean, aggregators.median))


@pytest.mark.parametrize("objective", ["distance", 1, lambda aggregate: aggregate])
def test_what_is_no_objective_or_search(objective, unchecked_shapes):
    for make in (functools.partial(attacks.adaptive, "little"), attacks.gradient_ascent):
        with pytest.raises(TypeError, match="^objective must be a function, such as .*, got "):
            make(aggregators.median, objective=objective)
    with pytest.raises(TypeError, match="^search must be a function, such as .*, got "):
        attacks.adaptive("little", aggregators.median, search=objective)


@pytest.mark.parametrize(
    "search",
    [
        functools.partial(attacks.adaptive, "little"),
        attacks.gradient_ascent,
        attacks.sensitivity_curve,
    ],
)
def test_a_rule_that_needs_what_is_not_bound(search):
    with pytest.raises(ValueError, match=r"rule dnc of \w+ asks for key, which it is not given .*"):
        search(aggregators.dnc)
    with pytest.raises(ValueError, match="asks for masses, .*: bind it, as by functools.partial"):
        search(aggregators.weighted_median)
    assert callable(search(functools.partial(aggregators.dnc, key=KEY)))


def test_the_rule_refuses_when_the_attack_is_traced():
    with pytest.raises(ValueError, match="n >= 2f \\+ 3"):
        attacks.adaptive("little", aggregators.krum)(KEY, HONEST, 4)
