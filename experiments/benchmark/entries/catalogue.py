"""Rules, pre-aggregators and attacks of the library by name, each as the benchmark configures it.

What a function of the library asks for is its default, but for what stands here.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from experiments.attack_strength.measure import fixed_attacks
from experiments.benchmark.entries import own
from experiments.defence_matrix.defences import PREAGGREGATORS as MIXING
from experiments.defence_matrix.lanes import SEARCHED as DIRECTIONS
from simbyz._arrays.calling import asks_for
from simbyz.aggregators import AGGREGATORS, centered_clipping, chain
from simbyz.aggregators.base import Rule, StatefulRule
from simbyz.attacks import ATTACKS, DATA_ATTACKS

# Clipped around the last aggregate, at about the length of an honest row at the start.
RADIUS = 1.0
NONE = "none"  # no pre-aggregator, no attack
PREAGGREGATORS = (NONE, *MIXING)
# Those that leave the number of rows as it is.
SAME_ROWS: dict[str, Callable] = {
    NONE: lambda stack, f: stack,
    **{name: mix for name, mix in MIXING.items() if name != "bucketing"},
}
ASCENT = "gradient_ascent"
SEARCHED = (*DIRECTIONS, ASCENT)
# One of each family: nobody lies, signs turned, inside the deviation, along the mean, a copy, as
# far as honest rows lie apart, noise, against one rule, mislabelled data.
FAMILIES = (
    NONE,
    "sign_flipping",
    "a_little_is_enough",
    "fall_of_empires",
    "mimic",
    "min_max",
    "gaussian",
    "fang_trimmed_mean",
    "label_flipping",
)
ALL_ATTACKS = (NONE, *ATTACKS, *DATA_ATTACKS, *SEARCHED)
# labels -> labels, by the Byzantine workers, who otherwise compute and send as they should.
LABELS: dict[str, Callable[[jax.Array, int], jax.Array]] = {
    name: functools.partial(attack, source=0, target=1)
    if name == "targeted_label_flipping"
    else attack
    for name, attack in DATA_ATTACKS.items()
}


def rule_of(name: str) -> Rule | StatefulRule:
    """The rule of this name, or at this place (see `own`)."""
    if own.is_own(name):
        return own.load(name)
    if name == "centered_clipping":
        return StatefulRule(
            lambda stack, f, *, state: centered_clipping(stack, f, radius=RADIUS, center=state),
            start=lambda zeros: zeros,
            learn=lambda state, stack, aggregate: aggregate,
        )
    return AGGREGATORS[name]


def trusting(name: str) -> bool:
    """Whether a rule asks for the gradient on examples that the server holds itself."""
    rule = rule_of(name)
    return asks_for(rule.aggregate if isinstance(rule, StatefulRule) else rule, "trusted")


def behind(pre: str, rule: Rule | StatefulRule) -> Rule | StatefulRule:
    """A rule after a pre-aggregator."""
    if pre == NONE:
        return rule
    if isinstance(rule, StatefulRule):
        return rule._replace(aggregate=chain(MIXING[pre], rule.aggregate))
    return chain(MIXING[pre], rule)


def kind(attack: str) -> str:
    """Attacks of one kind share a program: those that only look at the honest rows, those that
    search through the rule, and each of a user's own.
    """
    if own.is_own(attack):
        return attack
    return "searched" if attack in SEARCHED else "fixed"


def attack_of(name: str, f: int) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """(key, honest (h, d), own (f, d)) -> (f, d), of an attack that does not search; `own` is what
    the Byzantine workers computed, and what they send if only their labels are wrong.
    """
    if name == NONE or name in LABELS:
        return lambda key, honest, own: own
    attack = own.load(name) if own.is_own(name) else fixed_attacks(f)[name]
    return lambda key, honest, own: jnp.asarray(attack(key, honest, f), honest.dtype)
