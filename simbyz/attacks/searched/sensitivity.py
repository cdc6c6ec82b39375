"""An attack by the sensitivity curve: one more point where it moves the rule's result most."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import OF_ROOT, require_rule, signature_of_all
from simbyz._arrays.checks import at_least, number
from simbyz._arrays.scales import unit_where_unusual, wide
from simbyz._arrays.stacking import PyTree, ravel
from simbyz.attacks.fixed import mean_and_deviation
from simbyz.attacks.rows import aggregate_of, count, repeat

Rule = Callable[..., PyTree]


def sensitivity_curve(
    rule: Rule,
    *,
    reach: float | jax.Array = 10.0,
    evaluations: int = 32,
    f: int | None = None,
) -> Callable[..., PyTree]:
    """The rows at which the sensitivity curve of this rule is largest, along the deviation.

    The curve of a statistic tells what a point b adds to it, n (F(x_1 ... x_(n-1), b) - F), and is
    largest where a point harms most: far off for the mean, between the honest rows and what is cut
    off for a robust rule. Here all attackers send one b = mean + z · deviation, and

        z maximises ||F(honest, b ... b) - F(honest, mean ... mean)||

    over `evaluations` values on each side of 0, at equal ratios from reach / 100 to reach, or reach
    alone.

    Args:
      rule: (updates, f) -> aggregate, as the server will call it.
      reach: the largest |z|; positive, may be traced.
      evaluations: on each side; at least 1.
      f: what the rule is told to tolerate; as many as there are attackers if None.

    Returns:
      An attack (key, honest, num_byzantine) -> equal rows; it asks for `trusted` and `root` where
      the rule does.

    Raises:
      TypeError: a rule that is no function, a reach that is no number.
      ValueError: evaluations < 1, a reach that is not positive or not finite (if not traced), a
        rule that needs what is not bound, such as a key; fewer than two honest rows, what the rule
        refuses, and a rule that gives no row like an honest one, when the attack is traced.

    Cost: 2 · evaluations + 1 times the rule.
    Reference: Schroth, Vlaski and Zoubir, Sensitivity curve maximization: attacking robust
      aggregators in distributed learning, 2024, whose text was at hand in parts. `adaptive` and
      `gradient_ascent` maximise the distance from the honest mean instead.
    Convention: the direction, the honest deviation, and the values tried are choices made here.
    """
    require_rule("sensitivity_curve", rule, OF_ROOT)
    number("reach", reach, "positive and finite", lambda one: 0 < one < math.inf)
    evaluations = at_least("evaluations", evaluations, 1)

    def attack(key: jax.Array, honest: PyTree, num_byzantine: int, **known: Any) -> PyTree:
        del key
        num_byzantine = count(num_byzantine)
        stack, unravel = ravel(honest)
        mean, deviation = mean_and_deviation("sensitivity_curve", stack)
        told = functools.partial(rule, **known) if known else rule
        tolerated = num_byzantine if f is None else f

        def row_at(z: jax.Array) -> jax.Array:
            return (mean + z * deviation).astype(stack.dtype)

        def result(z: jax.Array) -> jax.Array:
            joined = jnp.concatenate([stack, repeat(row_at(z), num_byzantine)])
            made = aggregate_of(rule, told(unravel(joined), tolerated), honest, stack)
            return wide(made) * unit

        unit = unit_where_unusual(stack)
        ratios = jnp.linspace(-2.0 if evaluations > 1 else 0.0, 0.0, evaluations)
        sizes = jnp.asarray(reach, mean.dtype) * 10 ** ratios.astype(mean.dtype)
        tried = jnp.concatenate([sizes, -sizes])
        still = result(jnp.zeros((), mean.dtype))
        moved = jax.lax.map(lambda z: jnp.sum(jnp.square(result(z) - still)), tried)
        best = tried[jnp.argmax(jnp.where(jnp.isnan(moved), -1, moved))]
        return unravel(repeat(row_at(best), num_byzantine))

    signature = signature_of_all([rule], ("key", "honest", "num_byzantine"), OF_ROOT)
    vars(attack).update(__signature__=signature)  # what it asks for depends on the rule
    return attack
