"""How far each attack moves each rule."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.attack_strength.options import RuleName
from experiments.distributed_momentum.grid.rules import rule_of
from experiments.shared.stopping import side_by_side
from simbyz._arrays import moments
from simbyz.attacks import ATTACKS, gradient_ascent
from simbyz.attacks.searched.adaptive import DIRECTIONS, search_factor
from simbyz.attacks.searched.gradient_ascent import SYMMETRIES, Symmetry
from simbyz.attacks.searched.line_search import bracketing, looking_ahead, sequential

SEARCHES = {"sequential": sequential, "bracketing": bracketing, "looking ahead": looking_ahead}
ASCENT = "gradient_ascent"


class Climb(NamedTuple):
    """How long `gradient_ascent` climbs."""

    iterations: int
    climbers: int


def rule_named(name: RuleName, n: int, f: int) -> Callable:
    family, _, published = name.partition("-")
    return rule_of(family, n, f, "published" if published else "released")


def symmetry_of(name: RuleName) -> Symmetry | None:
    family = name.partition("-")[0]
    return SYMMETRIES.get("trimmed_mean" if family == "trmean" else family)


def bears(name: RuleName, n: int, f: int) -> bool:
    """Whether the rule accepts this (n, f)."""
    return _accepts(lambda stack: rule_named(name, n, f)(stack, f), n)


def fixed_attacks(f: int, n: int | None = None) -> dict[str, Callable]:
    """Every attack that needs neither the rule nor a memory, as (key, honest, num_byzantine) ->
    rows; of n workers, those that can be made of so few honest ones.
    """
    options: dict[str, dict[str, Any]] = {
        "fang_krum": {"f": f},
        "anti_cge": {"f": f},
        "inner_product_manipulation": {"tau": 1.0},
    }
    found: dict[str, Callable] = {
        name: functools.partial(attack, **options.get(name, {})) for name, attack in ATTACKS.items()
    }

    def one_coordinate(key: jax.Array, honest: jax.Array, num_byzantine: int) -> jax.Array:
        """As far in one coordinate as an honest row lies from the mean in all."""
        deviation = jnp.sqrt(jnp.sum(moments.variance(honest)))
        return ATTACKS["hidden_vulnerability"](key, honest, num_byzantine, factor=deviation)

    found["hidden_vulnerability"] = one_coordinate
    if n is None:
        return found
    return {  # fang_krum needs n >= 2f + 2
        name: attack
        for name, attack in found.items()
        if _accepts(functools.partial(attack, jax.random.key(0), num_byzantine=f), n - f)
    }


def _accepts(function: Callable, rows: int) -> bool:
    """Whether a function takes so many rows."""
    try:
        jax.eval_shape(function, jax.ShapeDtypeStruct((rows, 2), jnp.float32))
    except ValueError:
        return False
    return True


def measure(
    honest: np.ndarray,
    n: int,
    f: int,
    rules: Sequence[RuleName],
    *,
    climb: Climb,
    finished: Callable[[RuleName, list[dict]], None],
    progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Measures every attack on every rule, several rules side by side.

    Args:
      honest: (steps, n - f, d).
      finished: told each rule and what was measured on it as soon as it is done, in one thread or
        another: a row an attack and step, with attack, kind (fixed, searched, climbed), step (its
        number in `honest`), strength (||aggregate - mean|| over the honest deviation) and cosine
        (of the aggregate with the mean).
    """
    key = jax.random.key(0)
    rows = {}
    for name, attack in fixed_attacks(f, n).items():
        program = jax.jit(lambda step, attack=attack: attack(key, step, f))
        rows[name] = [np.asarray(program(step)) for step in honest]
        progress(f"n = {n}, f = {f}: {name}")

    def on_device(place: tuple[int, RuleName]) -> None:
        index, rule = place
        devices = jax.local_devices()
        with jax.default_device(devices[index % len(devices)]):
            finished(rule, list(_of_rule(rule, honest, n, f, rows, climb, progress)))

    side_by_side(on_device, enumerate(rules), len(rules))


def _of_rule(
    name: RuleName,
    honest: np.ndarray,
    n: int,
    f: int,
    fixed: dict[str, list[np.ndarray]],
    climb: Climb,
    progress: Callable[[str], None],
):
    rule = rule_named(name, n, f)
    key = jax.random.key(0)

    @jax.jit
    def weigh(honest: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = moments.mean(honest)
        aggregate = rule(jnp.concatenate([honest, rows]), f)
        cosine = aggregate @ mean / jnp.linalg.norm(aggregate) / jnp.linalg.norm(mean)
        deviation = jnp.sqrt(jnp.sum(moments.variance(honest)))
        return jnp.linalg.norm(aggregate - mean) / deviation, cosine

    @functools.partial(jax.jit, static_argnames="search")
    def searched(honest: jax.Array, search: str) -> jax.Array:
        """The rows that a search finds in each direction; all of these are straight lines."""
        ends = [
            jnp.stack([attack(key, honest, 1, factor=x)[0] for attack in DIRECTIONS.values()])
            for x in (0.0, 1.0)
        ]

        def along(line: tuple[jax.Array, jax.Array]) -> jax.Array:
            begin, end = line

            def direction(key, honest, num_byzantine, *, factor):
                row = begin + factor * (end - begin)
                return jnp.broadcast_to(row, (num_byzantine, *row.shape))

            found = search_factor(
                key, honest, f, direction=direction, rule=rule, search=SEARCHES[search]
            )
            return direction(key, honest, f, factor=found.factor)

        return jax.lax.map(along, tuple(ends))

    @jax.jit
    def climbed(honest: jax.Array, start: jax.Array) -> jax.Array:
        return gradient_ascent(
            rule, symmetry=symmetry_of(name), starts=(lambda *_: start,), **climb._asdict()
        )(key, honest, f)

    for step, rows in enumerate(honest):
        strongest, best = -np.inf, fixed["a_little_is_enough"][step]

        def weighed(attack: str, kind: str, byzantine, step=step, rows=rows) -> dict:
            strength, cosine = map(float, weigh(rows, byzantine))
            found = {"attack": attack, "kind": kind, "step": step}
            return found | {"strength": strength, "cosine": cosine}

        def searches(rows=rows):
            for search in SEARCHES:
                for direction, found in zip(DIRECTIONS, searched(rows, search), strict=True):
                    yield f"{direction}, {search}", "searched", found

        candidates = [(attack, "fixed", every[step]) for attack, every in fixed.items()]
        for attack, kind, byzantine in [*candidates, *searches()]:
            row = weighed(attack, kind, byzantine)
            if row["strength"] > strongest:
                strongest, best = row["strength"], byzantine
            yield row
        yield weighed(ASCENT, "climbed", climbed(rows, best))
        progress(f"n = {n}, f = {f}: {name}")
