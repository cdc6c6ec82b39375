"""An attack that climbs: ascent through the rule itself, with a row of its own for each attacker.

Rules are piecewise smooth, and flat in what decides whom they choose, so a gradient alone ends at
the first edge, where a further step would have the attackers dropped. What is done here instead:

1. From the honest mean, walk along rays: the deviation, the mean, and for a rule that chooses rows,
   towards each honest row and towards the middle of a few neighbours (the neighbours' nearness buys
   the attackers length).
2. From the best of the rays and of the given starts, climb. Each iteration tries a step along the
   gradient and steps that mix it with random ones, shaped like the honest noise, the same for all
   attackers or one for each; the best is kept, and the step adapts to whether one was found.

A symmetry of the rule makes this cheap, or exhaustive: see `gradient_ascent`.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.calling import require_rule, require_taking
from simbyz._arrays.checks import integer
from simbyz._arrays.geometry import full_product
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import PyTree, ravel
from simbyz.attacks.fixed import a_little_is_enough, fall_of_empires
from simbyz.attacks.rows import count
from simbyz.attacks.searched.adaptive import (
    Attack,
    Objective,
    Rule,
    require_objective,
    worth_of,
)
from simbyz.attacks.searched.climb import Start, climb, farthest_on_rays, rays
from simbyz.attacks.searched.span import in_span

Symmetry = Literal["coordinates", "rotations"]

# The symmetries of rules, by their names in AGGREGATORS.
SYMMETRIES: dict[str, Symmetry] = {
    "average": "coordinates",
    "median": "coordinates",
    "trimmed_mean": "coordinates",
    "phocas": "coordinates",
    "meamed": "coordinates",
    "krum": "rotations",
    "multi_krum": "rotations",
    "cge": "rotations",
    "monna": "rotations",
    "faba": "rotations",
    "minimum_diameter_averaging": "rotations",
    "minimum_variance_averaging": "rotations",
    "smea": "rotations",
}

# A result sits on an edge: in case rounding puts it on the wrong side, a little less is tried too.
RETREATS = (1.0, 1 - 1e-5, 1 - 1e-4, 1 - 1e-3, 1 - 1e-2)


def gradient_ascent(
    rule: Rule,
    *,
    f: int | None = None,
    symmetry: Symmetry | None = None,
    starts: Sequence[Attack] = (a_little_is_enough, fall_of_empires),
    iterations: int = 100,
    climbers: int = 8,
    objective: Objective | None = None,
) -> Attack:
    """The rows, a different one for each attacker, that move this rule most, as far as a climb
    finds them.

        max over B of Σ_k objective(rule(honest, B), honest mean)_k

    Args:
      rule: (updates, f) -> aggregate, as the server will call it.
      f: what the rule is told to tolerate; as many as there are attackers if None.
      symmetry: "coordinates" if the rule treats each coordinate alone: then each is climbed on its
        own, all at once. "rotations" if a rotation of all rows rotates the result: then the climb
        stays in the span of the honest rows and the starts, which takes few numbers and is exact.
        None: nothing is known, and every evaluation takes the rule in full. SYMMETRIES tells it for
        the rules of this library.
      starts: attacks never to be weaker than; an adaptive one may be among them.
      iterations: of each climb; each evaluates the rule 8 times and its gradient once.
      climbers: how many of the best rays and starts are climbed from; with "coordinates", in each
        the best of its own.
      objective: `squared_distance` if None.

    Returns:
      An attack (key, honest, num_byzantine) -> the Byzantine rows.

    Raises:
      TypeError: starts or an objective that are no such functions.
      ValueError: an unknown symmetry, fewer than two honest rows, no climber, a rule that needs
        what is not bound, such as a key; whatever the rule refuses, when the attack is traced.

    Cost: without symmetry, 26 evaluations of the rule on each of 3 + 6h rays; in each iteration of
      each climber 8, and a gradient. With "coordinates", 74 on each of 3 rays. With "rotations", as
      without, but of rows of few numbers, after one `in_span`.
    """
    require_rule("gradient_ascent", rule)
    if symmetry is not None and symmetry not in get_args(Symmetry):
        raise ValueError(f'symmetry must be "coordinates", "rotations" or None, got {symmetry!r}')
    require_objective(objective)
    climbers, iterations = integer("climbers", climbers), integer("iterations", iterations)
    if not isinstance(starts, list | tuple):
        raise TypeError(f"starts must be a list of attacks, got {starts!r}")
    for start in starts:
        require_taking(
            "each start", start, "key, honest, num_byzantine", "simbyz.attacks.fall_of_empires"
        )
    if climbers < 1 or iterations < 0 or not starts:
        raise ValueError(
            "gradient_ascent needs climbers >= 1, iterations >= 0 and a start, "
            f"got climbers={climbers}, iterations={iterations}, {len(starts)} starts"
        )
    own_coordinates = symmetry == "coordinates"

    def attack(key: jax.Array, honest: PyTree, num_byzantine: int) -> PyTree:
        stack, unravel = ravel(honest)
        num_byzantine = count(num_byzantine)
        if not num_byzantine:
            return unravel(stack[:0])
        if len(stack) < 2:
            raise ValueError("gradient_ascent needs at least 2 honest rows, got 1")
        tolerated = num_byzantine if f is None else f
        given = jnp.stack([ravel(start(key, honest, num_byzantine))[0] for start in starts])

        # Where the climb takes place: all d coordinates, or an orthonormal basis of a few vectors.
        rows = wide(stack)
        place, place_given = rows, given.astype(rows.dtype)
        _, deviation = moments.mean_and_deviation(rows)
        if symmetry == "rotations":
            vectors = [rows, place_given.reshape(-1, rows.shape[1]), deviation[None]]
            numbers, basis = in_span(jnp.concatenate(vectors))
            place, place_given = numbers[: len(rows)], numbers[len(rows) : -1]
            place_given, deviation = place_given.reshape(*given.shape[:2], -1), numbers[-1]

        worth = worth_of(rule, place, tolerated, objective)

        def gain(byzantine: jax.Array) -> jax.Array:
            terms = worth(byzantine)
            gains = terms if own_coordinates else jnp.sum(terms, keepdims=True)
            return jnp.where(jnp.isnan(gains), -jnp.inf, gains)

        mean = moments.sure_mean(place)
        on_rays = farthest_on_rays(
            gain, mean, rays(place, deviation, own_coordinates), num_byzantine
        )
        found = jax.tree.map(
            lambda *leaves: jnp.concatenate(leaves),
            on_rays,
            Start(place_given, jax.lax.map(gain, place_given)),
        )
        # Of one gain, or in each coordinate: the best starts, and then the best of their climbs.
        order = jnp.argsort(-found.gain, axis=0)[:climbers]
        chosen = _taken(found, order)
        results = jax.lax.map(
            lambda one: climb(gain, one[0], place, deviation, one[1], iterations),
            (chosen, jax.random.split(key, len(order))),
        )
        result = _taken(results, jnp.argmax(results.gain, axis=0, keepdims=True)).rows[0]

        retreats = jnp.asarray(RETREATS, rows.dtype)[:, None, None]
        results = mean[None, None] + retreats * (result - mean[None])[None]
        if symmetry == "rotations":
            results = full_product(results, basis)
        candidates = jnp.concatenate([results.astype(stack.dtype), given])
        in_full = worth_of(rule, honest, tolerated, objective)
        values = jax.lax.map(lambda rows: jnp.sum(in_full(unravel(rows))), candidates)
        return unravel(candidates[jnp.argmax(jnp.where(jnp.isnan(values), -jnp.inf, values))])

    return attack


def _taken(starts: Start, which: jax.Array) -> Start:
    """Of starts (s, ...), those of the numbers (k, 1), or in each coordinate those of (k, d)."""
    return Start(
        jnp.take_along_axis(starts.rows, which[:, None], axis=0),
        jnp.take_along_axis(starts.gain, which, axis=0),
    )
