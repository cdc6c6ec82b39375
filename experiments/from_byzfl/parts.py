"""Rules, pre-aggregators and attacks of ByzFL, as this library has them at ByzFL's conventions."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.byzfl_conformance.search import expand_then_shrink
from experiments.from_byzfl.values import Number, did_you_mean
from experiments.shared.options.checks import as_name
from experiments.worst_case.rules import krum
from simbyz import aggregators, attacks, preaggregators
from simbyz._arrays.calling import asks_for
from simbyz.aggregators.base import StatefulRule

Rule = Callable[..., jax.Array] | StatefulRule
Attack = Callable[..., jax.Array]


class Known(NamedTuple):
    """A part of ByzFL: what it is called here, its parameters, and how they make it."""

    ours: str
    parameters: dict[str, Number]
    make: Callable[..., Any]
    note: str = ""  # what is not as ByzFL has it


class Part(NamedTuple):
    """A part as a file asks for it, all its parameters by ByzFL's names."""

    name: str  # ByzFL's
    parameters: tuple[tuple[str, float], ...]
    label: str  # our name, and the parameters that are not ByzFL's defaults

    @property
    def options(self) -> dict[str, float]:
        return dict(self.parameters)


def multi_krum(updates: jax.Array, f: int) -> jax.Array:
    """The mean of the n - f rows of the smallest sums of squared distances to n - f - 1 others."""
    n = len(updates)
    return aggregators.multi_krum(updates, f, neighbours=n - f - 1, m=n - f)


def centered_clipping(L: int, tau: float) -> Callable[..., jax.Array]:
    """Around the last aggregate, which the server remembers: see `defence`."""

    def rule(updates: jax.Array, f: int, *, state: jax.Array) -> jax.Array:
        return aggregators.centered_clipping(
            updates, f, radius=tau, iterations=int(L), center=state
        )

    return rule


def library(
    function: Any, parameters: Mapping[str, tuple[str, Number]] = {}, note: str = "", **options: Any
) -> Known:
    """A function of this library, by its own name.

    Args:
      parameters: ByzFL's, each with what it is called here.
      note: see `Known`.
      options: what is set here.
    """

    def make(**given: float) -> Any:
        named = {parameters[name][0]: value for name, value in given.items()}
        return functools.partial(function, **options, **named)

    numbers = {name: number for name, (_, number) in parameters.items()}
    return Known(function.__name__, numbers, make, note)


EXACT = "takes the eigenvector itself; ByzFL one step of the power method from a random start"
RULES: dict[str, Known] = {
    "Average": library(aggregators.average),
    "Median": library(aggregators.median, midpoint=True),
    "TrMean": library(aggregators.trimmed_mean),
    "GeometricMedian": library(
        aggregators.geometric_median,
        {"nu": ("smoothing", Number(0.1, least=0)), "T": ("iterations", Number(3, least=1))},
    ),
    "Krum": library(krum),
    "MultiKrum": library(multi_krum),
    "CenteredClipping": Known(
        "centered_clipping",
        {"L": Number(1, least=1), "tau": Number(100.0, least=0)},
        centered_clipping,
    ),
    "MDA": library(aggregators.minimum_diameter_averaging),
    "MoNNA": library(aggregators.monna, {"idx": ("index", Number(0, least=0))}),
    "Meamed": library(aggregators.meamed, midpoint=True),
    "CAF": library(aggregators.caf, note=f"{EXACT}, and the largest τ of all rows"),
    "SMEA": library(aggregators.smea, note=EXACT),
}
PREAGGREGATORS: dict[str, Known] = {
    "NNM": library(preaggregators.nearest_neighbor_mixing),
    "Bucketing": library(preaggregators.bucketing, {"s": ("bucket_size", Number(1, least=1))}),
    "Clipping": library(preaggregators.clipping, {"c": ("radius", Number(2.0, least=0))}),
    "ARC": library(preaggregators.adaptive_robust_clipping),
}


def manipulation(
    key: jax.Array, honest: jax.Array, num_byzantine: int, *, factor: float | jax.Array
) -> jax.Array:
    """`inner_product_manipulation`, as the search wants it."""
    return attacks.inner_product_manipulation(key, honest, num_byzantine, tau=factor)


def optimal(direction: str | Attack) -> Callable[..., Attack]:
    """The attacks that search their factor through the defence."""

    def make(rule: Callable[..., jax.Array], tolerated: int, evals: int, **line: Any) -> Attack:
        search = functools.partial(expand_then_shrink, **line)

        def attack(key: jax.Array, honest: jax.Array, num_byzantine: int) -> jax.Array:
            # Against a rule that draws random numbers, with a draw of the attacker's own.
            known = functools.partial(rule, key=key) if asks_for(rule, "key") else rule
            searched = attacks.adaptive(
                direction, known, evaluations=evals, f=tolerated, search=search
            )
            return searched(key, honest, num_byzantine)

        return attack

    return make


def gaussian(mu: float, sigma: float) -> Attack:
    """One draw, which all attackers send."""

    def attack(key: jax.Array, honest: jax.Array, num_byzantine: int) -> jax.Array:
        row = attacks.gaussian(key, honest, 1, mean=mu, scale=sigma)
        return jnp.broadcast_to(row, (num_byzantine, *row.shape[1:]))

    return attack


SEARCH = {
    "evals": Number(20, least=1),
    "start": Number(0.0),
    "delta": Number(10.0),
    "ratio": Number(0.8, least=0.5, most=1.0),
}
ATTACKS: dict[str, Known] = {
    "SignFlipping": library(attacks.sign_flipping),
    "InnerProductManipulation": library(
        attacks.inner_product_manipulation, {"tau": ("tau", Number(2.0))}
    ),
    "ALittleIsEnough": library(attacks.a_little_is_enough, {"tau": ("factor", Number(1.5))}),
    "Mimic": library(attacks.mimic, {"epsilon": ("worker", Number(0, least=0))}),
    "Inf": library(attacks.inf),
    "Gaussian": Known("gaussian", {"mu": Number(0.0), "sigma": Number(1.0, least=0)}, gaussian),
    "Optimal_ALittleIsEnough": Known("adaptive_little", SEARCH, optimal("little")),
    "Optimal_InnerProductManipulation": Known(
        "adaptive_manipulation", SEARCH, optimal(manipulation)
    ),
}
NOT_HERE = {
    "LabelFlipping": "ByzFL sends the mean of the honest workers' own gradients at reversed labels,"
    " without momentum; here attackers who flip labels compute on data of their own "
    "(simbyz.attacks.label_flipping)",
    "NoAttack": "in ByzFL, too, it goes with f = 0 alone, where no attack acts",
}


def part(
    kind: str,
    known: Mapping[str, Known],
    name: Any,
    parameters: Mapping[str, Any],
    ignored: str = "f",
) -> Part:
    """A part by ByzFL's name, its parameters checked and filled up.

    Args:
      kind: the section of the file.
      known: the parts of this kind.
      name: from the file.
      parameters: from the file, each a single value.
      ignored: a parameter that ByzFL sets by itself.

    Raises:
      ValueError: there is none, or a parameter or its value is none of its own.
    """
    if not isinstance(name, str) or name not in known:
        ours = {each.ours: byzfl for byzfl, each in known.items()}
        raise ValueError(f"{kind} {name!r} is not known: {did_you_mean(str(name), known, ours)}")
    numbers = known[name].parameters
    given = {key: value for key, value in parameters.items() if key != ignored}
    for key in given:
        if key not in numbers:
            raise ValueError(
                f"{kind} {name} has no parameter {key!r}: {did_you_mean(key, numbers)}"
            )
    values = {
        key: number.read(f"{key} of {kind} {name}", given.get(key, number.default))
        for key, number in numbers.items()
    }
    own = [f"{key}={as_name(x)}" for key, x in values.items() if x != numbers[key].default]
    label = known[name].ours + (f":{','.join(own)}" if own else "")
    return Part(name, tuple(values.items()), label)


def defence(rule: Part, pres: tuple[Part, ...]) -> Rule:
    """The pre-aggregators and the rule, as one; with the memory of centered clipping."""
    last = RULES[rule.name].make(**rule.options)
    parts = [PREAGGREGATORS[pre.name].make(**pre.options) for pre in pres]
    function = aggregators.chain(*parts, last) if parts else last
    if not asks_for(function, "state"):
        return function
    return StatefulRule(
        function, start=lambda zeros: zeros, learn=lambda state, stack, aggregate: aggregate
    )


def attack_of(attack: Part, rule: Rule, tolerated: int) -> Attack:
    """The attack, against this rule where it searches through one.

    Raises:
      ValueError: the rule has a memory.
    """
    make = ATTACKS[attack.name].make
    if not searches(attack):
        return make(**attack.options)
    if isinstance(rule, StatefulRule):
        raise ValueError(
            f"{attack.name} against CenteredClipping is not here: ByzFL's attacker has a centre of "
            "its own, which each of its evaluations moves"
        )
    return make(rule, tolerated, **attack.options)


def searches(attack: Part) -> bool:
    return ATTACKS[attack.name].parameters is SEARCH
