"""Safeguard: who drifts away from the majority over a window is left out, and stays so."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import integer, not_negative, number, reached
from simbyz._arrays.geometry import distances_between
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import Updates
from simbyz.aggregators.base import StatefulRule
from simbyz.aggregators.history.records import finite_only, mean_of_good


class Watch(NamedTuple):
    """Sums of what each worker sent in a window, over the number of good ones, and who is good."""

    long: jax.Array  # (n, d)
    short: jax.Array  # (n, d)
    good: jax.Array  # (n,) booleans
    step: jax.Array  # (), steps that were watched


def safeguard(
    windows: tuple[int, int] = (100, 10),
    *,
    thresholds: tuple[float | jax.Array, float | jax.Array] | None = None,
    factor: float | jax.Array = 1.5,
    reset: int | None = None,
) -> StatefulRule:
    """Safeguard: the mean of the workers that have not drifted away from the majority.

    Two sums of x_i / |good| run for each worker, and begin anew every `windows` steps. Of each, a
    good worker in the middle is one with good ones within the threshold that are more than half of
    all. After the step, who is good and farther than twice the threshold from the middle in either
    sum is good no more.

        rule = safeguard((100, 10))
        make_simulator(config, task, rule, attack, selection=selection_of(rule.aggregate))

    Args:
      windows: steps of the longer one and of the shorter; equal ones are the single safeguard.
      thresholds: of the longer and the shorter window, in the units of the rows. None: they follow
        the workers; the middle is the good one whose ⌈(n + 1) / 2⌉-th nearest good one, itself
        counted, is nearest, and who is farther than `factor` times that distance is dropped; nobody
        is where fewer than so many are good.
      factor: 1 or more, so that the majority stays; of no use with thresholds. May be traced.
      reset: all are good again every so many steps; None: never back.

    Returns:
      A rule (updates, f, state) with a memory of (2, n, d). It takes the workers that are good
      before the step, as the paper has it, zeros if none is; a row that is not finite has weight 0,
      and its worker is dropped. All workers have to take part in each step.

    Raises:
      TypeError: windows or reset are no ints, a threshold or factor that is no number.
      ValueError: windows that are not two of at least 1, the longer one first; thresholds that are
        not two, or are negative or NaN, or a factor below 1 (if not traced); reset below 1. When
        called: n < 2f + 1, or fewer rows than workers.

    Cost: two n × n × d matrix products and five passes over the stack a step.
    Reference: Allen-Zhu, Ebrahimian, Li and Alistarh, Byzantine-resilient non-convex stochastic
      gradient descent, ICLR 2021. It is the non-convex form of ByzantineSGD, Alistarh, Allen-Zhu
      and Li, NeurIPS 2018.
    Convention: the paper adds Gaussian noise to the aggregate, here is none. Where nobody has more
      than half within the threshold, the good one with the most is in the middle. The thresholds
      that follow the workers are from memory of the paper's experiments.
    """
    windows = _two("windows", windows, "(100, 10)")
    whole = [integer("windows", window) for window in windows]
    if not 1 <= whole[1] <= whole[0]:
        raise ValueError(f"windows must be two of at least 1, the longer one first, got {windows}")
    longer, shorter = (reached("windows", window) for window in whole)
    if reset is not None and integer("reset", reset) < 1:
        raise ValueError(f"reset must be at least 1 or None, got {reset}")
    reset = None if reset is None else reached("reset", reset)
    number("factor", factor, "at least 1", lambda one: one >= 1)
    if thresholds is not None:
        thresholds = _two("thresholds", thresholds, "(3.0, 1.0)")
        for value in thresholds:
            not_negative("safeguard", "each threshold", value)

    def near(sums: jax.Array, good: jax.Array, threshold: float | jax.Array | None) -> jax.Array:
        """Who (n,) of the good is near the middle one of them."""
        n = len(sums)
        squares, unit = distances_between(sums)
        distances = jnp.sqrt(squares)
        distances = jnp.where(good[None, :] & jnp.isfinite(distances), distances, jnp.inf)
        distances = jnp.where(jnp.eye(n, dtype=bool) & good[:, None], 0, distances)
        if threshold is None:
            reach = jnp.where(good, jnp.sort(distances, axis=1)[:, n // 2], jnp.inf)
            middle = jnp.argmin(reach)
            return good & (distances[:, middle] <= factor * reach[middle])
        threshold = jnp.asarray(threshold, unit.dtype) * unit
        counts = jnp.where(good, jnp.sum(distances <= threshold, axis=1), -1)
        return good & (distances[:, jnp.argmax(counts)] <= 2 * threshold)

    def _safeguard(updates: Updates, f: int = 0, *, state: Watch) -> Halves:
        return mean_of_good("safeguard", updates, f, state.good)

    def learn(state: Watch, stack: jax.Array, aggregate: jax.Array) -> Watch:
        rows, finite = finite_only(wide(stack))
        good, step = state.good, state.step
        parts = rows / jnp.maximum(jnp.sum(good), 1)
        sums = [
            jnp.where(step % window == 0, 0, old) + parts
            for window, old in ((longer, state.long), (shorter, state.short))
        ]
        stays = good & finite
        for total, threshold in zip(sums, thresholds or (None, None), strict=True):
            stays &= near(total, good & finite, threshold)
        if reset is not None:
            stays |= (step + 1) % reset == 0
        return Watch(sums[0], sums[1], stays, step + 1)

    def start(zeros: jax.Array, *, n: int) -> Watch:
        sums = jnp.zeros((n, zeros.size), wide(zeros).dtype)
        return Watch(sums, sums, jnp.ones(n, bool), jnp.int32(0))

    return StatefulRule(halves(_safeguard)[0], start, learn)


def _two(name: str, values: Any, example: str) -> tuple[Any, Any]:
    """The values, of the longer window and of the shorter."""
    if not isinstance(values, tuple | list) or len(values) != 2:
        raise ValueError(f"{name} must be two, such as {example}, got {values!r}")
    longer, shorter = values
    return longer, shorter
