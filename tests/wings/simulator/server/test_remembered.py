"""What rules and attacks remember: functions that are none, and memories that change their kind."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.aggregators.base import StatefulRule
from simbyz.attacks.base import StatefulAttack
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from tests.wings.simulator.quadratic import quadratic

CONFIG, NUMBERS = Config(n=5, f=1), Hyperparameters(0.1, worker=Momentum(0.9))
FIRST = jax.random.key(0)


def traced(rule=aggregators.median, attack=attacks.sign_flipping, **more):
    simulator = make_simulator(CONFIG, quadratic(), rule, attack, **more)

    def run(state):
        return simulator.advance(state, NUMBERS, {}, FIRST, 0, 2)

    return jax.eval_shape(run, jax.eval_shape(simulator.initialise, FIRST))


def rule(start=lambda zeros: zeros, learn=lambda state, stack, aggregate: aggregate):
    return StatefulRule(lambda stack, f, *, state: aggregators.median(stack, f), start, learn)


def attack(start=jnp.zeros, send=lambda key, honest, b, state: (honest[:b], state), **learn):
    return StatefulAttack(start, send, **learn)


REFUSED = {
    "start takes nothing": (
        lambda: rule(start=lambda: 0.0),
        "start of a StatefulRule must be a function, such as lambda zeros: zeros, of (zeros), got "
        "<lambda>: it takes fewer or more",
    ),
    "start is none": (lambda: rule(start=None), "start of a StatefulRule must be a function"),
    "a text": (lambda: rule(start=lambda z: "a"), "must give arrays or numbers, got str"),
    "learn takes two": (
        lambda: rule(learn=lambda state, stack: state),
        "of (state, stack, aggregate), got <lambda>: it takes fewer or more",
    ),
    "forgotten": (
        lambda: rule(learn=lambda *given: None),
        "must carry on what it was given, in the same shapes and kinds: rule was float32 of shape "
        "(4,) and became nothing",
    ),
    "all rows": (lambda: rule(learn=lambda s, x, a: x), "(4,) and became float32 of shape (5, 4)"),
    "ints": (lambda: rule(learn=lambda s, x, a: a.astype(int)), "(4,) and became int32 of shape"),
    "a pair": (lambda: rule(learn=lambda s, x, a: (s, a)), "rule was float32 of shape (4,) and"),
    "words": (lambda: rule(learn=lambda s, x, a: "a"), "float32 of shape (4,) and became str"),
    "no signature": (lambda: max, "rule must be a function that tells its parameters, such as"),
    "one more": (
        lambda: lambda x, f, g: x[0],
        "got <lambda>, which takes fewer or more: call it, if it makes",
    ),
    "attack without memory": (
        lambda: attack(send=lambda key, honest, b: honest[:b]),
        "of (key, honest, num_byzantine, state), got <lambda>: it takes fewer or more",
    ),
    "attack's start": (lambda: attack(start=lambda d: [object()]), "or numbers, got object"),
    "attack's rows": (
        lambda: attack(send=lambda key, honest, b, state: (honest[:b], honest)),
        "a memory was float32 of shape (4,) and became float32 of shape (4, 4)",
    ),
    "attack's learn": (
        lambda: attack(learn=lambda state, aggregate: aggregate[:3]),
        "attack was float32 of shape (4,) and became float32 of shape (3,)",
    ),
    "attack learns alone": (
        lambda: attack(learn=lambda state: state),
        "lambda state, aggregate: state, of (state, aggregate), got <lambda>: it takes fewer or",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_memory_is_refused_in_one_line(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=re.escape(words)) as refusal:
        made = make()
        traced(attack=made) if isinstance(made, StatefulAttack) else traced(made)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("option", "given", "words"),
    [
        ("schedule", lambda: 1.0, "1 / (1 + step), of (step), got <lambda>: it takes fewer"),
        ("selection", lambda x: x, "median_selection, got <lambda>, which takes fewer or more"),
        ("selection", lambda x, f: None, "must return a weight a row, (n,), of shape (5,), got No"),
    ],
)
def test_functions_that_take_or_give_something_else(option, given, words) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        traced(**{option: given})


def test_options_may_be_given_by_name_to_places_without_a_star() -> None:
    numbers = NUMBERS._replace(attack={"size": 2.0}, schedule={"half": 3})
    simulator = make_simulator(
        CONFIG,
        quadratic(),
        aggregators.median,
        lambda key, honest, b, size: size * honest[:b],
        schedule=lambda step, half: 0.5**half,
    )
    state = jax.eval_shape(simulator.initialise, FIRST)
    jax.eval_shape(lambda state: simulator.advance(state, numbers, {}, FIRST, 0, 1), state)


def test_memories_that_a_loop_can_carry() -> None:
    """Of another width, which is brought to the first one; a number that gets a dtype; none."""
    narrow = rule(learn=lambda state, stack, aggregate: aggregate.astype(jnp.float16))
    counting = rule(lambda zeros: 0, lambda state, stack, aggregate: state + 0.5)
    nothing = rule(lambda zeros: None, lambda state, stack, aggregate: state)
    for one in (narrow, counting, nothing, functools.partial(aggregators.median, midpoint=True)):
        state, _ = traced(one)
        assert state.parameters.shape == (4,)
    state, _ = traced(narrow)
    assert state.rule.dtype == np.float32
